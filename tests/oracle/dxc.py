#!/usr/bin/env python3
"""Compiles a folder of HLSL compute shaders with the DirectX Shader Compiler on Linux.

The first line of each file names its entry point and its target:

    // entry=rms_norm profile=cs_6_0 f16=0

Prints one JSON document. The exit status is 0 even if shaders failed to compile, and 2
if the compiler could not be used.
"""

import argparse
import ctypes
import json
import pathlib
import sys
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_ssize_t, c_uint32, c_void_p, c_wchar_p

# What wgpu's DirectX 12 backend passes. There is no -Vd: DXC has a validator of its own
# and misses libdxil only for signing, which it mentions in every compilation.
ARGUMENTS = ["-HV", "2018", "-no-warnings", "-Ges"]
UNSIGNED = "Resulting DXIL will not be signed"

CLSID_COMPILER = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
IID_COMPILER3 = "228b4687-5a6a-4730-900c-9702b2203f54"
IID_RESULT = "58346cda-dde7-4497-9461-6f87af5e0659"
IID_BLOB = "8ba5fb08-5195-40e2-ac58-0d989c3a0102"
IID_VERSION3 = "5e13e843-9d25-473c-9ad2-03b2d0b44b1e"

# Places in the vtables: Release is IUnknown's, the others count from where that ends.
RELEASE = 2
COMPILE = GET_STATUS = GET_BUFFER_POINTER = GET_CUSTOM_VERSION = 0
GET_BUFFER_SIZE = 1
GET_OUTPUT = 4
OUT_OBJECT, OUT_ERRORS = 1, 2
CP_UTF8 = 65001


class DxcError(Exception):
    """The library cannot be loaded, or does not behave like DXC."""


class Buffer(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t), ("encoding", c_uint32)]


def guid(text):
    a, b, c, d, e = text.split("-")
    return b"".join(bytes.fromhex(part)[::-1] for part in (a, b, c)) + bytes.fromhex(d + e)


def method(pointer, slot, result, *types):
    vtable = ctypes.cast(pointer, POINTER(POINTER(c_void_p)))[0]
    function = ctypes.CFUNCTYPE(result, c_void_p, *types)(vtable[slot])
    return lambda *values: function(pointer, *values)


def release(pointer):
    method(pointer, RELEASE, c_uint32)()


def check(status, what):
    if status < 0:
        raise DxcError(f"DXC's {what} failed with 0x{status & 0xFFFFFFFF:08x}")


class Compiler:
    def __init__(self, library):
        try:
            self.create = ctypes.CDLL(str(pathlib.Path(library).resolve())).DxcCreateInstance
        except (OSError, AttributeError) as error:
            raise DxcError(f"cannot load DXC: {error}") from error
        self.create.argtypes = [c_char_p, c_char_p, POINTER(c_void_p)]
        self.create.restype = c_int32
        self.base = self.end_of_iunknown()
        self.compiler = self.instance(IID_COMPILER3)

    def instance(self, iid):
        pointer = c_void_p()
        check(self.create(guid(CLSID_COMPILER), guid(iid), byref(pointer)), "DxcCreateInstance")
        return pointer

    def end_of_iunknown(self):
        """The first slot after IUnknown: 3, or 5 in releases before 1.7.2212, where it has a
        virtual destructor. IDxcVersionInfo3 tells which: it adds one method, then comes the
        small number that starts the next vtable."""
        pointer = self.instance(IID_VERSION3)
        vtable = ctypes.cast(pointer, POINTER(POINTER(c_ssize_t)))[0]
        count = next((slot for slot in range(7) if abs(vtable[slot]) < 65536), 0)
        if count not in (4, 6):
            raise DxcError("the library's vtables are not those of DXC")
        release(pointer)
        return count - 1

    def version(self):
        pointer, text = self.instance(IID_VERSION3), c_char_p()
        check(method(pointer, self.base + GET_CUSTOM_VERSION, c_int32, c_void_p)(byref(text)), "version")
        release(pointer)
        return text.value.decode()

    def output(self, result, kind):
        """One of the outputs of a compilation, empty where it has none."""
        blob = c_void_p()
        get = method(result, self.base + GET_OUTPUT, c_int32, c_uint32, c_char_p, c_void_p, c_void_p)
        if get(kind, guid(IID_BLOB), byref(blob), None) < 0 or not blob:
            return b""
        data = method(blob, self.base + GET_BUFFER_POINTER, c_void_p)()
        size = method(blob, self.base + GET_BUFFER_SIZE, c_size_t)()
        content = ctypes.string_at(data, size) if data else b""
        release(blob)
        return content

    def compile(self, name, source, entry, profile, f16):
        """What DXC has against the shader: nothing if it compiled."""
        arguments = [name, "-E", entry, "-T", profile, *ARGUMENTS] + ["-enable-16bit-types"] * f16
        wide = (c_wchar_p * len(arguments))(*arguments)
        result, status, buffer = c_void_p(), c_int32(), Buffer(source, len(source), CP_UTF8)
        run = method(self.compiler, self.base + COMPILE, c_int32,
                     c_void_p, c_void_p, c_uint32, c_void_p, c_char_p, c_void_p)
        check(run(byref(buffer), wide, len(wide), None, guid(IID_RESULT), byref(result)), "Compile")
        check(method(result, self.base + GET_STATUS, c_int32, c_void_p)(byref(status)), "GetStatus")
        text = self.output(result, OUT_ERRORS).decode(errors="replace").rstrip("\0")
        dxil = self.output(result, OUT_OBJECT)
        release(result)
        # Any other message fails the shader, as it does in wgpu.
        message = "\n".join(line for line in text.splitlines() if UNSIGNED not in line).strip()
        if not message and (status.value < 0 or not dxil):
            message = f"no DXIL and no message, status 0x{status.value & 0xFFFFFFFF:08x}"
        return message


def compile_file(compiler, path):
    source = path.read_bytes()
    first = source.partition(b"\n")[0].decode(errors="replace")
    options = dict(word.split("=", 1) for word in first.split() if "=" in word)
    if not (first.startswith("//") and {"entry", "profile", "f16"} <= options.keys()):
        return "the first line is not like `// entry=main profile=cs_6_0 f16=0`"
    return compiler.compile(path.name, source, options["entry"], options["profile"], options["f16"] == "1")


def main():
    parser = argparse.ArgumentParser(description="Compiles FOLDER/*.hlsl with the DirectX Shader Compiler.")
    parser.add_argument("--library", required=True, metavar="PATH", help="libdxcompiler.so")
    parser.add_argument("--version", action="store_true", help="print the compiler's version instead")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    if not options.version and not (options.folder and options.folder.is_dir()):
        parser.error("FOLDER has to be a folder of HLSL files")
    try:
        compiler = Compiler(options.library)
        if options.version:
            print(compiler.version())
            return 0
        messages = {path.name: compile_file(compiler, path) for path in sorted(options.folder.glob("*.hlsl"))}
    except (DxcError, OSError) as error:
        print(f"dxc.py: {error}", file=sys.stderr)
        return 2
    failed = [{"file": name, "message": message} for name, message in messages.items() if message]
    print(json.dumps({"compiled": len(messages) - len(failed), "failed": failed}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
