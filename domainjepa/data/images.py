from domainjepa.data.source import Loader, OpenOptions, Source
class ImagesLoader(Loader):
    name = "images"
    title = "a folder of JPEG, PNG or TIFF"
    def sniff(self, path: str, head: bytes) -> bool: return False
    def open(self, path: str, options: OpenOptions) -> Source: raise NotImplementedError
