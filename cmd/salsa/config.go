package main

// salsa config: what a command's settings are, what they mean and where each value comes from.

import (
	"fmt"

	"salsa/internal/fault"
	"salsa/internal/options"

	"github.com/spf13/cobra"
)

func newConfigCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the settings of a command: explained, or as a JSON schema",
		Args:  cobra.ArbitraryArgs,
		RunE:  needCommand,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "explain COMMAND [flags of the command]",
		Short: "Print every setting with its meaning, its value and where the value comes from",
		Long: "Explain prints a YAML file that --config accepts. Flags, --set and --config after COMMAND are applied\n" +
			"just as the command itself would apply them.",
		Example:            "  salsa config explain sft --config run.yaml --seed 3",
		DisableFlagParsing: true, // the flags belong to the other command
		RunE:               explainConfig,
	}, &cobra.Command{
		Use:   "schema COMMAND",
		Short: "Print the JSON schema of the command's YAML, for editors",
		Args:  cobra.ExactArgs(1),
		RunE:  configSchema,
	})
	return cmd
}

func explainConfig(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		return cmd.Help()
	}
	target, b, err := configurable(cmd.Root(), args[0])
	if err != nil {
		return err
	}
	if err := target.ParseFlags(args[1:]); err != nil {
		return options.FlagError(target.Flags(), err)
	}
	if err := b.Fill(); err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(b.Explain())
	return err
}

func configSchema(cmd *cobra.Command, args []string) error {
	_, b, err := configurable(cmd.Root(), args[0])
	if err != nil {
		return err
	}
	schema, err := b.Schema("salsa " + args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", schema)
	return err
}

// configurable finds the command called name and its settings.
func configurable(root *cobra.Command, name string) (*cobra.Command, *options.Binding, error) {
	target, _, err := root.Find([]string{name})
	if err != nil || target == root {
		return nil, nil, unknownCommand(root, name)
	}
	b := options.Bound(target.Flags())
	if b == nil {
		return nil, nil, fault.Inputf("salsa %s has no settings that a YAML file could hold; see salsa help %s", name, name)
	}
	return target, b, nil
}
