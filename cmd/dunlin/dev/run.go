package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// readyDeadline bounds how long the nodes may take to become ready.
const readyDeadline = 60 * time.Second

// Run starts a cluster, and stops it when ctx ends.
func Run(ctx context.Context, out io.Writer, o Options) error {
	plan, err := o.plan(runtime.GOOS)
	if err != nil {
		return err
	}
	if err := checkPorts(plan); err != nil {
		return err
	}
	if o.Wipe {
		if err := wipe(plan); err != nil {
			return err
		}
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("dev: find this binary: %w", err)
	}
	fleet := newFleet(o, binary, out)
	defer fleet.stop()
	if err := fleet.startAll(plan); err != nil {
		return err
	}
	readyCtx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	ready, err := fleet.waitReady(readyCtx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting
		}
		return err
	}
	fmt.Fprintf(out, "\n%s ready.\n", text.Count(ready, "node is", "nodes are"))
	if o.Sample != nil {
		var urls []string
		for _, n := range plan {
			urls = append(urls, n.httpURL())
		}
		if err := o.Sample(ctx, out, urls); err != nil {
			return fmt.Errorf("dev: sample events: %w", err)
		}
	}
	printNextSteps(out, o, plan)
	return fleet.watch(ctx)
}

// where is the part of a command line that finds this cluster.
func (o Options) where() (flags string) {
	if o.Base != DefaultBase {
		flags += " --base " + o.Base
	}
	if o.Dir != DefaultDir {
		flags += " --dir " + o.Dir
	}
	return flags
}

// unused is the number that a node gets that is added.
func unused(plan []node) int {
	number := 1
	for slices.ContainsFunc(plan, func(n node) bool { return n.number == number }) {
		number++
	}
	return number
}

// printNextSteps tells what can be tried.
func printNextSteps(out io.Writer, o Options, plan []node) {
	first := plan[0]
	fmt.Fprintf(out, `
Try next, in another terminal:
  %[5]s status --admin %[2]s
  echo '{"type":"greeting","data":{"hello":"world"}}' | %[5]s event append demo --http %[1]s
  %[5]s event read demo --http %[1]s
  curl -s '%[1]s/v1/streams/demo/events?limit=5'
  curl -s %[2]s/metrics | grep dunlin_coordinator
  kill -9 %[3]s      # then go on writing
  %[5]s dev --add%[6]s         # one more node
  %[5]s dev --remove %[7]d%[6]s    # it leaves again

Ctrl-C stops the cluster; data stays in %[4]s.
`, first.httpURL(), first.adminURL(), "PID-OF-A-NODE", filepath.Dir(first.dir), os.Args[0], o.where(), unused(plan))
}
