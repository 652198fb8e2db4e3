package job

// The profile of a job: every command and every stage of a recipe runs in it.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/internal/profile"
)

// Profiled runs a job whose options, a pointer to a struct, may ask for a profile with --profile. The profile of a job
// that fails is written too, but not that of one whose inputs are refused: its --out must stay as it was.
func Profiled(opts any, run func() error) (err error) {
	given := options.Of(opts)
	dir, _ := given.Get("profile") // "" of a job without a Base too
	if dir == "" {
		return run()
	}
	r, err := profile.Start(dir)
	if err != nil {
		return err
	}
	defer func() {
		if fault.ExitCode(err) == fault.ExitInput {
			err = errors.Join(err, r.Discard())
			return
		}
		err = errors.Join(err, r.Stop())
		if quiet, _ := given.Get("quiet"); quiet != "true" && err == nil {
			fmt.Fprintf(os.Stderr, "salsa: profile: %s\n", filepath.Join(dir, profile.TableFile))
		}
	}()
	return run()
}
