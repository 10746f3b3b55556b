import nnspec

nnspec.solve("xor.nns").network("f").predict([[0, 1, 1]])
