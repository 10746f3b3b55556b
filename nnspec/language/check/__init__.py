"""From syntax tree to Problem: names, types, data, shapes, and everything that can be wrong with them."""
