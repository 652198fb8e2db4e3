// Package job is what each command does, given its options: it loads models and data, hands them to a trainer or
// an evaluation, and leaves a run folder behind. Subcommands and recipe stages call the same functions, so a
// stage of a pipeline and the command typed by hand are one thing.
//
// A job's options struct holds its defaults; internal/options turns it into flags and YAML keys. A job returns
// its final scalars and never prints to standard output.
package job
