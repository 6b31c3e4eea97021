package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
)

// changeFlags are the flags of the commands that change the layout.
type changeFlags struct {
	port   adminFlag
	output outputFlag
	dryRun bool
	wait   bool
}

func (f *changeFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be moved, and change nothing")
	f.port.add(cmd)
	f.output.add(cmd, "table", "json")
}

func (f *changeFlags) addWait(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.wait, "wait", false, "show the progress until the change is done; fails if it is aborted")
}

// operation is one change that a command asks for.
type operation struct {
	// request makes the request, of what the cluster is like and how its port can be
	// asked for more.
	request func(context.Context, *client.Admin, admin.Status) (client.ChangeRequest, error)
	// unconfirmed keeps the change from being begun, after its plan was shown.
	unconfirmed error
	// begun says what comes next; nil: the usual.
	begun func(io.Writer, admin.Status, client.ChangeRequest)
}

// run plans a change, begins it, and waits for it, as the flags say.
func (f *changeFlags) run(cmd *cobra.Command, op operation) error {
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	c, err := f.port.client()
	if err != nil {
		return &usageError{err}
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	cluster, status, err := moves.Connect(ctx, c)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	request, err := op.request(ctx, c, status)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	ask := c.Change
	if f.dryRun || op.unconfirmed != nil {
		ask = c.Plan
	}
	plan, err := f.show(ctx, out, ask, request)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case op.unconfirmed != nil && !f.dryRun && !plan.Done:
		return &usageError{fmt.Errorf("%s: %w", name, op.unconfirmed)}
	}
	if !f.output.json() {
		fmt.Fprintln(out)
		switch {
		case plan.Done:
			fmt.Fprintln(out, "There is nothing to do: it is done already.")
		case f.dryRun:
			fmt.Fprintln(out, "Nothing was changed (--dry-run).")
		case op.begun != nil && plan.Change == 0:
			op.begun(out, status, request)
		default:
			printBegun(out, plan)
		}
	}
	if !f.wait || f.dryRun || plan.Done {
		return nil
	}
	if plan.GivesUp { // the node is still a member when the change on its way has gone on without it
		if err := cluster.Follow(ctx, plan.Change, progressShow()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return f.run(cmd, op)
	}
	if err := cluster.Wait(ctx, request, plan.Change, progressShow()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !f.output.json() {
		fmt.Fprintln(out, "done")
	}
	return nil
}

// show asks for a plan, or a change, and prints it.
func (f *changeFlags) show(ctx context.Context, out io.Writer, ask func(context.Context, client.ChangeRequest) (json.RawMessage, error), r client.ChangeRequest) (plan admin.LayoutPlan, err error) {
	raw, err := ask(ctx, r)
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(raw, &plan); err != nil {
		return plan, fmt.Errorf("read the answer: %w", err)
	}
	return plan, show(out, f.output, raw, &plan, func(out io.Writer) error { return moves.PrintPlan(out, plan) })
}

// printBegun says what can be done about a change on its way.
func printBegun(out io.Writer, plan admin.LayoutPlan) {
	fmt.Fprintf(out, "Change %d is on its way. Follow it:  dunlin layout status --watch\n"+
		"Drop it, until reads ask the new replicas:  dunlin layout abort\n", plan.Change)
}

// progressShow draws progress on standard error: a bar on a terminal, else lines.
func progressShow() moves.Show {
	if interactive() {
		return moves.Bars(os.Stderr, terminalWidth)
	}
	return moves.Lines(os.Stderr)
}

func terminalWidth() int {
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || width < 1 {
		return 80
	}
	return width
}

// ofNode makes the request of a change that names a member, and maybe more.
func ofNode(kind, id, zone string, more ...string) func(context.Context, *client.Admin, admin.Status) (client.ChangeRequest, error) {
	return func(_ context.Context, _ *client.Admin, s admin.Status) (client.ChangeRequest, error) {
		all, err := moves.ResolveAll(s, append([]string{id}, more...))
		if err != nil {
			return client.ChangeRequest{}, err
		}
		return client.ChangeRequest{Kind: kind, Node: all[0], Nodes: all[1:], Zone: zone}, nil
	}
}

// lost is what goes with a node that does not come back.
const lost = `Writes at w=one that had reached only this node, and the hints that it alone kept for
acknowledged writes (w=any, sloppy), are lost. If its disk can still be read, start
it again and use "dunlin node decommission" instead.`

// errUnconfirmed keeps a node from being removed by mistake.
var errUnconfirmed = errors.New("nothing was changed: what only this node had is lost when it is removed " +
	"(writes at w=one, hints it kept for acknowledged writes), and it cannot come back under its identity: confirm with --yes")
