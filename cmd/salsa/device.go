package main

// The one place where a process opens its device.

import "salsa/tensor"

// openDevice opens what --device names. prepare calls it before a command's own code, because it must be the first
// libtorch call of the process: libtorch remembers the absence of CUDA for good once it has been asked.
func openDevice(name string) error {
	_, err := tensor.OpenDevice(name)
	return err
}
