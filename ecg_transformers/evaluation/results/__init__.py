"""`results.json`: entries, predictions, reports, published scores."""
