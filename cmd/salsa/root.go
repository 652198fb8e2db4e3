package main

// The command tree. A new command is one file and one line in the table below.

import (
	"salsa/internal/fault"
	"salsa/internal/options"

	"github.com/spf13/cobra"
)

// commands lists every subcommand under the heading that help shows it under.
func commands() []commandGroup {
	return []commandGroup{
		{"pipeline", "Pipeline:", []func() *cobra.Command{newRunCmd, newCompareCmd}},
		{"train", "Training:", []func() *cobra.Command{newSFTCmd, newSoupCmd, newRewardCmd}},
		{"online", "Training on a policy's own samples:", []func() *cobra.Command{
			newPPOCmd,
			newAPACmd,
			newRLOOCmd,
			newGRPOCmd,
			newXPOCmd,
			newInverseQCmd,
		}},
		{"offline", "Training on preferences:", []func() *cobra.Command{
			newDPOCmd,
			newRSOCmd,
			newCANCmd,
			newAIHFCmd,
		}},
		{"use", "Using models and data:", []func() *cobra.Command{newGenerateCmd, newChatCmd, newScoreCmd, newEvalCmd, newTokenizeCmd, newReportCmd}},
		{"inspect", "Looking and checking:", []func() *cobra.Command{newInspectCmd, newDataCmd, newPlanCmd, newDoctorCmd, newConfigCmd}},
	}
}

type commandGroup struct {
	id, title string
	make      []func() *cobra.Command
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "salsa",
		Short: "RLHF in Go: SFT, soups, reward models, PPO with a soup as reference",
		Long: "salsa trains language models from human preferences, with no Python at run time.\n" +
			"`salsa run demo` runs the whole pipeline on a toy model and writes a report.",
		Version:           version(),
		SilenceErrors:     true, // main prints them
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs, // so that RunE can suggest a command
		RunE:              needCommand,
		PersistentPreRunE: prepare,
	}
	root.SetVersionTemplate("salsa {{.Version}}\n")
	root.SetFlagErrorFunc(badFlag)
	root.SetUsageTemplate(groupedUsage(root.UsageTemplate()))
	for _, g := range commands() {
		if len(g.make) == 0 {
			continue
		}
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, make := range g.make {
			cmd := make()
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommand(newHelpCmd())
	root.SetHelpCommandGroupID("inspect")
	root.SetCompletionCommandGroupID("inspect")
	finish(root)
	return root
}

// prepare runs before every command: it fills the command's options and opens its device.
func prepare(cmd *cobra.Command, _ []string) error {
	b := options.Bound(cmd.Flags())
	if b == nil {
		return nil
	}
	if err := b.Resolve(); err != nil {
		return err
	}
	if name, ok := b.Get("device"); ok && cmd.Annotations[planned] == "" {
		return openDevice(name)
	}
	return nil
}

// finish gives all commands below cmd what they share: argument errors of kind input, and completion of values.
func finish(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fault.Inputf("%w; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	if b := options.Bound(cmd.Flags()); b != nil {
		for flag, values := range b.Choices() {
			must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
		}
		must(cmd.MarkFlagFilename("config", "yaml", "yml"))
	}
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
}

// must guards calls that fail only when the tree above is built wrongly.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
