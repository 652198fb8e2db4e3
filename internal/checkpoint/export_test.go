package checkpoint

// SetFailpoint makes hook run before every change to the disk until restore is called.
func SetFailpoint(hook func(op, path string) error) (restore func()) {
	old := failpoint
	failpoint = hook
	return func() { failpoint = old }
}

// SetExchange replaces the exchange of two folders until restore is called.
func SetExchange(f func(a, b string) error) (restore func()) {
	old := swapFolders
	swapFolders = f
	return func() { swapFolders = old }
}

// Reserve gives the tests a transient name that counts as being written.
var Reserve = reserve
