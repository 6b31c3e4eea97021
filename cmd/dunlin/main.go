// Command dunlin is the one binary of Dunlin: it serves a node, runs a
// development cluster, shows and changes a cluster's state, writes and reads
// events and keys, and generates load.
//
// Every command takes its settings from flags alone, except serve, which also
// reads a file and the environment (package config). Results go to standard
// output, as a table or as JSON (-o json); everything else, progress bars
// included, goes to standard error, so that commands can be piped. The exit
// code is 0 on success, 1 on failure, and 2 for a wrong command line. With -o json a
// failure is a JSON object as well, on a line of its own: the last one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the Makefile.
var version = "dev"

// The ports of the outer contract.
const (
	defaultHTTPPort      = 7480
	defaultInternodePort = 7481
	defaultGossipPort    = 7482
	defaultAdminPort     = 7483
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func run(ctx context.Context, args []string, out, loud io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(loud)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	code := 1
	fmt.Fprintln(loud, "dunlin:", err)
	var usage *usageError
	if errors.As(err, &usage) {
		code = 2
		fmt.Fprintln(loud, "Run the command with --help for its flags and examples.")
	}
	if form := cmd.Flags().Lookup("output"); form != nil && form.Value.String() == "json" {
		printFailure(out, err, code)
	}
	return code
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "dunlin",
		Short: "A leaderless database for events that must be written",
		Long: `Dunlin is a leaderless, Dynamo-style AP database: consistent-hash ring, quorum
reads and writes tuned per request, last write wins, over a Pebble LSM store.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetVersionTemplate("dunlin {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.Example = `  dunlin dev                                  # a cluster on this machine
  dunlin event append sessions < events.ndjson
  dunlin status`
	root.AddCommand(
		newServeCommand(), newDevCommand(),
		newStatusCommand(), newLayoutCommand(), newTableCommand(),
		newNodeCommand(), newKeyspaceCommand(), newRecoverCommand(),
		newHintsCommand(), newRepairCommand(),
		newEventCommand(), newKVCommand(), newBenchCommand(),
		newVersionCommand(),
	)
	checkArguments(root)
	return root
}

// checkArguments makes wrong arguments usage errors, on every command, and gives
// commands that only group others an answer to an unknown name.
func checkArguments(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() {
		check = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		}
		if cmd.RunE == nil {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	if check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		checkArguments(child)
	}
}
