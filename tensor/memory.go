package tensor

// How much memory the CPU's tensors take.

import "salsa/tensor/native"

// MemoryUse is the memory of CPU tensors of 64 KiB and more, in bytes. Weights that are pages of a file do not count.
type MemoryUse struct {
	Used int64 // by tensors that are there
	Held int64 // of the system: Used, and what is kept for the tensors to come
	Most int64 // highest Used so far
}

// Memory returns what is in use now. Held never goes beyond Most by more than 16 MiB: freed buffers are kept within the
// peak that there was anyway.
func Memory() MemoryUse {
	used, held, most := native.Memory()
	return MemoryUse{used, held, most}
}

// ReleaseMemory gives all that no tensor uses back to the system.
func ReleaseMemory() { native.ReleaseMemory() }
