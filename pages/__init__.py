"""The pages of the app: one file each; what they share stands in `pages.ui`."""
