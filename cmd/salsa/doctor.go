package main

// salsa doctor: is this machine fit to compute on?

import (
	"context"

	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newDoctorCmd() *cobra.Command {
	return newShowCmd(&cobra.Command{
		Use:   "doctor",
		Short: "Check libtorch, device and kernels on this machine",
		Long: "Doctor names versions, processor, memory, disk and CUDA (or the exact reason why there is none), and holds the kernels\n" +
			"that training rests on to their formulas. It ends with exit code 1 if one of them is off.",
		Example: "  salsa doctor\n  salsa doctor --device cuda --json",
	}, job.DefaultDoctor, func(ctx context.Context, o *job.DoctorOptions) (*job.Diagnosis, error) {
		o.Version = version()
		return job.Doctor(ctx, o)
	})
}
