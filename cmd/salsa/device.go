package main

// The one place where a process opens its device.

import (
	"regexp"

	"salsa/internal/fault"
)

var deviceName = regexp.MustCompile(`^(auto|cpu|cuda(:[0-9]+)?)$`)

// openDevice opens what --device names. prepare calls it before a command's own code, because it must be the first
// libtorch call of the process: libtorch remembers the absence of CUDA for good once it has been asked.
func openDevice(name string) error {
	if !deviceName.MatchString(name) {
		return fault.Inputf("--device %s: want auto, cpu, cuda or cuda:N", name)
	}
	return nil
}
