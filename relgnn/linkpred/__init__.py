"""Link predictors that use text and graph."""
