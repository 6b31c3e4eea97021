package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
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
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// TestFailuresInJSON: with -o json a failure is an object on standard output too.
func TestFailuresInJSON(t *testing.T) {
	f := newFakeCluster()
	f.err = errors.New("too few <nodes> would stay")
	port := f.port(t)
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"node decommission 461 -o json", `{"error":"node decommission: too few <nodes> would stay (400)","exit_code":1,"status":400}` + "\n", 1},
		{"node decommission x -o json", `{"error":"node decommission: no member's id begins with \"x\"; the members are 0f125b0b, 0f12ffff, 461eee54","exit_code":1}` + "\n", 1},
		{"layout plan -o json", `{"error":"give --add ZONE for each node that would join, or --remove ID","exit_code":2}` + "\n", 2},
		{"node decommission 461", "", 1},
	} {
		var out, loud bytes.Buffer
		code := run(t.Context(), append(strings.Fields(c.line), "--admin", port), &out, &loud)
		if code != c.code || out.String() != c.want || !strings.HasPrefix(loud.String(), "dunlin: ") {
			t.Errorf("%s: %d\n%s\n%s", c.line, code, &out, &loud)
		}
	}
}
