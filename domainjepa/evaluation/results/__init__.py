"""What was found: scores, their intervals, records and paired differences."""
