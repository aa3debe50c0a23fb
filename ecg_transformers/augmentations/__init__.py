"""Views of a batch of records: functions of explicit parameters, and the recipes that draw them."""
