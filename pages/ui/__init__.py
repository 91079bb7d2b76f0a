"""What every page shares: navigation, shell, controls, loading and showing."""
