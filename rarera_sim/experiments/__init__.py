"""Questions asked of the model, answered with error bars."""
