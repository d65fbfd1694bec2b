"""Model handles, the providers behind them, and one way to ask any of them."""
