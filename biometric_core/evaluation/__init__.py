"""How good a recogniser is. Knows neither the store of runs nor the table of decisions."""
