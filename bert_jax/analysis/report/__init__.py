"""The report: what the analysis found, as one page that needs nothing but a browser."""
