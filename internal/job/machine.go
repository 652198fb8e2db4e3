package job

// What this machine is: processor, memory, disk. Every number that the system does not tell is zero.

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is the host. Sizes are in bytes.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"` // that this process may use
	Memory      int64  `json:"memory_bytes"`
	FreeMemory  int64  `json:"free_memory_bytes"` // what can still be had without swapping, within the container's limit
	MemoryLimit int64  `json:"memory_limit_bytes,omitempty"`
	Folder      string `json:"folder"` // where FreeDisk was measured
	FreeDisk    int64  `json:"free_disk_bytes"`
}

// lookAround describes the machine, with the disk of the working folder.
func lookAround() Machine {
	m := Machine{CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU()}
	m.Memory, m.FreeMemory = kibibytes("/proc/meminfo", "MemTotal"), kibibytes("/proc/meminfo", "MemAvailable")
	if limit, used := cgroupMemory("/sys/fs/cgroup"); limit > 0 && limit < m.Memory {
		m.MemoryLimit = limit
		m.FreeMemory = min(m.FreeMemory, max(0, limit-used))
	}
	m.Folder, _ = filepath.Abs(".")
	var disk unix.Statfs_t
	if unix.Statfs(".", &disk) == nil {
		m.FreeDisk = int64(disk.Bavail) * int64(disk.Bsize)
	}
	return m
}

// field returns the value of the first "key: value" line of a file, or "".
func field(path, key string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes reads a field of the form "123 kB" as bytes.
func kibibytes(path, key string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(field(path, key), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// cgroupMemory returns a container's memory limit and use; limit 0 is none. Version 2 and version 1 name their files
// differently.
func cgroupMemory(root string) (limit, used int64) {
	for _, names := range [][2]string{{"memory.max", "memory.current"}, {"memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"}} {
		limit, used = number(filepath.Join(root, names[0])), number(filepath.Join(root, names[1]))
		if limit > 0 {
			return limit, used
		}
	}
	return 0, 0
}

// number reads a file that holds one whole number; anything else, such as "max", is 0.
func number(path string) int64 {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
