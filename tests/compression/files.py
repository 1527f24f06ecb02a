"""What a .tflite file holds."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_DTYPES = {schema.TensorType.FLOAT32: "float32", schema.TensorType.INT8: "int8"}


def kernels(path):
    """The constants of two or more dimensions in a file, the largest first."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    found = []
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and tensor.type in _DTYPES and len(tensor.shape) > 1:
            found.append(np.frombuffer(bytes(data), _DTYPES[tensor.type]).reshape(tensor.shape))
    return sorted(found, key=lambda kernel: -kernel.size)


def operators_by_output(path):
    """For each output, the names of the operators that it is computed with, in order."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    found = {}
    for output in model.signatureDefs[0].outputs:
        needed, used = {output.tensorIndex}, []
        for op in reversed(model.subgraphs[0].operators):
            if needed & set(op.outputs):
                needed |= set(op.inputs)
                used.append(names[codes[op.opcodeIndex]])
        found[output.name.decode()] = used[::-1]
    return found
