import nnspec

nnspec.solve("xor.nns").network("f").save("f.docx")
