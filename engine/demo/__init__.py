"""The bundled study: sources, data, tokenizer and encoder, and the commands that rebuild them."""
