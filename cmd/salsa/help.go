package main

// Answers about the program itself: help, version, and what to say to an unknown command.

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// needCommand is the action of a command that only groups others.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(parent *cobra.Command, name string) error {
	var names []string
	for _, c := range parent.Commands() {
		names = append(names, c.Name())
	}
	hint := options.DidYouMean(name, names)
	if hint == "" {
		hint = fmt.Sprintf("; `%s --help` lists the commands", parent.CommandPath())
	}
	return fault.Inputf("unknown command %s%s", name, hint)
}

// badFlag tells of a flag that cannot be read. A command that groups others has hardly any flags, so that a mistyped name
// behind it is the mistake, not the flag that follows; and what salsa run does not know may be an option of a stage.
func badFlag(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 && !errors.Is(err, pflag.ErrHelp) {
		return unknownCommand(cmd, args[0])
	}
	var unknown *pflag.NotExistError
	if cmd.Name() == "run" && errors.As(err, &unknown) {
		key := strings.ReplaceAll(unknown.GetSpecifiedName(), "-", "_")
		for _, kind := range stageKinds() {
			if options.Of(kind.options()).Has(key) {
				return fault.Inputf("unknown flag --%s; it is an option of stages: give --set STAGE.%s=VALUE, or --set '*.%s=VALUE' for all that have it",
					unknown.GetSpecifiedName(), key, key)
			}
		}
	}
	return options.FlagError(cmd.Flags(), err)
}

// newHelpCmd replaces cobra's, which answers an unknown name with exit code 0.
func newHelpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show what a command does and its flags",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, name := range args {
				next, _, err := at.Find([]string{name})
				if err != nil || next == at {
					return unknownCommand(at, name)
				}
				at = next
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// groupedUsage is cobra's usage template with flags under their groups' headings.
func groupedUsage(template string) string {
	const flat = "Flags:\n{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}"
	if !strings.Contains(template, flat) {
		panic("cobra's usage template has changed; adapt groupedUsage")
	}
	cobra.AddTemplateFunc("flagSections", options.Usages)
	return strings.Replace(template, flat, "{{flagSections .LocalFlags}}", 1)
}

// commit is what the build says it was made from: -ldflags "-X main.commit=…", as the Makefile passes it.
var commit string

// version names the commit that the binary was built from: commit, or else what the Go toolchain has noted.
func version() string {
	at, dirty := cmp.Or(commit, "unknown commit"), ""
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				at = s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
	}
	return fmt.Sprintf("%s%s (%s, %s/%s)", at, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
