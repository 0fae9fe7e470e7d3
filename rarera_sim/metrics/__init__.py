"""Numbers from what happened: folds over steps, capacities, periods and states. Nothing here moves or decides."""
