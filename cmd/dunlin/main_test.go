package main

import (
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandShowsHow: a short text and examples in every --help.
func TestEveryCommandShowsHow(t *testing.T) {
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%q has no short text or no example", cmd.CommandPath())
		}
		for _, child := range cmd.Commands() {
			check(child)
		}
	}
	check(newRootCommand())
}

func TestWrongCommandLinesExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{"bogus"}, {"event", "bogus"}, {"event", "append"}, {"event", "load"}, {"bench"}, {"bench", "delete"}, {"dev", "--nodes", "0"},
		{"serve", "extra"}, {"serve", "--zoen", "a"}, {"table", "set", "dunlin.events"}, {"version", "-o", "xml"}, {"status", "--admin", "nowhere"},
		{"node", "bogus"}, {"node", "remove"}, {"node", "zone", "a"}, {"layout", "plan"}, {"layout", "bogus"}, {"keyspace", "replication", "k"}, {"recover", "--force"},
		{"dev", "--add", "--remove", "3"}, {"dev", "--add", "--nodes", "4"}, {"dev", "--remove", "3", "--wipe"},
	} {
		if code := run(t.Context(), args); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
