"""What PyTorch code does, as it does it: storages, operators, modules, what autograd keeps."""
