package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
	"github.com/dunlindb/dunlin/ring"
)

func newLayoutCommand() *cobra.Command {
	cmd := showAnswer(&cobra.Command{
		Use:     "layout",
		Short:   "Show the owner table; plan, follow and abort changes of it",
		Long:    "Show the owner table: ranges and replicas per node, and how even they are.",
		Example: "  dunlin layout -o json\n  dunlin layout plan --add z1\n  dunlin layout status --watch",
	}, (*client.Admin).Layout, printLayout)
	cmd.AddCommand(newLayoutPlanCommand(), newLayoutStatusCommand(), newLayoutAbortCommand())
	return cmd
}

func printLayout(out io.Writer, l admin.Layout) error {
	fmt.Fprintf(out, "catalog version %d, %d ranges\n", l.CatalogVersion, l.Ranges)
	for _, k := range l.Keyspaces {
		fmt.Fprintf(out, "\nkeyspace %s: %s, %d replicas, %d replica sets, balance %.3f (most ÷ mean)\n", k.Keyspace, k.Strategy, k.ReplicationFactor, k.ReplicaSets, k.Balance)
		var rows [][]string
		for _, n := range k.Nodes {
			rows = append(rows, []string{text.Short(n.ID), n.Zone, strconv.Itoa(n.RangesOwned), strconv.Itoa(n.ReplicasHeld)})
		}
		if err := text.Table(out, []string{"MEMBER", "ZONE", "RANGES OWNED", "REPLICAS HELD"}, rows); err != nil {
			return err
		}
	}
	return nil
}

func newLayoutPlanCommand() *cobra.Command {
	var flags changeFlags
	var add, remove []string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what would move if nodes joined or left; nothing happens",
		Long: `Say how many ranges would change replicas, and who would copy how much, if nodes
joined in the given zones, or members left. Nothing happens; the plan of the change
itself may differ a little, since the cluster may have changed by then.`,
		Example: "  dunlin layout plan --add z1                # one more node in zone z1\n  dunlin layout plan --add z1 --add z2\n  dunlin layout plan --remove 461eee54",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(add)+len(remove) == 0 {
				return &usageError{errors.New("give --add ZONE for each node that would join, or --remove ID")}
			}
			flags.dryRun = true
			return flags.run(cmd, operation{request: func(_ context.Context, _ *client.Admin, s admin.Status) (client.ChangeRequest, error) {
				ids, err := moves.ResolveAll(s, remove)
				return client.ChangeRequest{Kind: admin.KindJoin, Add: add, Remove: ids}, err
			}})
		},
	}
	cmd.Flags().StringArrayVar(&add, "add", nil, "zone of a node that would join; may be repeated")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "id of a member that would leave, or its beginning; may be repeated")
	flags.port.add(cmd)
	flags.output.add(cmd, "table", "json")
	return cmd
}

func newLayoutStatusCommand() *cobra.Command {
	var port adminFlag
	var output outputFlag
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far the change on its way is, and who holds it up",
		Long: `Show how far the change of the layout on its way is: who copies how much, and who
holds it up. --watch goes on until it is over: a bar on a terminal, else lines, or
one JSON object a second.`,
		Example: "  dunlin layout status\n  dunlin layout status --watch\n  dunlin layout status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			if err := layoutStatus(cmd.Context(), cmd.OutOrStdout(), c, output, watch); err != nil {
				return fmt.Errorf("layout status: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until no change is on its way")
	port.add(cmd)
	output.add(cmd, "table", "json")
	return cmd
}

func layoutStatus(ctx context.Context, out io.Writer, c *client.Admin, output outputFlag, watch bool) error {
	cluster, status, err := moves.Connect(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case !watch && output.json():
		return printJSON(out, status.Change)
	case !watch || status.Change == nil && !output.json():
		err := moves.PrintProgress(out, status.Change)
		moves.PrintReplacing(out, status)
		return err
	}
	display := moves.Lines(out)
	switch {
	case output.json():
		lines := json.NewEncoder(out)
		display = func(p *admin.ChangeProgress) {
			if p != nil {
				_ = lines.Encode(p) // the types are ours; a reader that is gone reads nothing
			}
		}
	case interactive():
		display = progressShow()
	}
	err = cluster.Follow(ctx, 0, display)
	switch {
	case ctx.Err() != nil:
		return nil // Ctrl-C: enough was seen
	case err == nil && !output.json():
		fmt.Fprintln(out, "no change of the layout is on its way any more")
	}
	return err
}

func newLayoutAbortCommand() *cobra.Command {
	var port adminFlag
	var output outputFlag
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "abort",
		Short: "Drop the change on its way: the layout stays as it is",
		Long: `Drop the change of the layout on its way, or what "dunlin node replace" prepared. The
layout stays as it was before; what was copied is dropped in the background, and a
node that was joining ends. Nothing acknowledged is lost: writes reached the old
replicas all the while.

Refused once reads ask the new replicas (phase flipped): the change then finishes,
and can be undone by the opposite change alone. Where there is nothing to drop it says
so, and succeeds.`,
		Example: "  dunlin layout abort --dry-run\n  dunlin layout abort",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			answer, err := abort(cmd.Context(), c, dryRun)
			if err != nil {
				return fmt.Errorf("layout abort: %w", err)
			}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			return printAborted(cmd.OutOrStdout(), answer)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be dropped, and drop nothing")
	port.add(cmd)
	output.add(cmd, "table", "json")
	return cmd
}

// abort drops the change on its way, or says what it would drop.
func abort(ctx context.Context, c *client.Admin, dryRun bool) (a admin.Aborted, err error) {
	if !dryRun {
		raw, err := c.Abort(ctx)
		if err == nil {
			err = json.Unmarshal(raw, &a)
		}
		return a, err
	}
	_, s, err := moves.Connect(ctx, c)
	switch {
	case err != nil:
	case s.Change != nil && s.Change.Phase == string(ring.Flipped):
		err = errors.New("reads ask the new replicas already, so the change cannot be aborted any more; it will finish")
	case s.Change != nil:
		a.Kind, a.Change = s.Change.Kind, s.Change.ID
	case s.Replacing != "":
		a.Kind = admin.KindReplace
	}
	return a, err
}

func printAborted(out io.Writer, a admin.Aborted) error {
	what := a.Kind
	if a.Change != 0 {
		what += fmt.Sprintf(" (change %d)", a.Change)
	}
	line := "aborted: " + what + "; the layout is as it was before"
	switch {
	case what == "":
		line = "no change of the layout is on its way: there is nothing to abort"
	case !a.Aborted:
		line = "this would be dropped: " + what + "\nNothing was changed (--dry-run)."
	case a.Change == 0:
		line = "taken back: " + what + ", which was prepared; the next node that joins takes a share of its own"
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
