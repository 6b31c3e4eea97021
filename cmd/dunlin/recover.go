package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// recoverOptions are the flags of `dunlin recover`.
type recoverOptions struct {
	force     bool
	cluster   string
	survivors []string
	reason    string
}

func newRecoverCommand() *cobra.Command {
	var port adminFlag
	var output outputFlag
	var opts recoverOptions
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "LAST RESORT: go on with a minority when the majority of members is lost for good",
		Long: `LAST RESORT, for a cluster that has lost the majority of its members for good: their
disks are gone and none of them will ever come back. It raises the cluster's
generation and makes the survivors, all of which must be alive, its only members;
then they fill up what the others held, as far as any of them has it.

  - Everything that only the lost nodes had is LOST, acknowledged or not.
  - The lost nodes are refused from then on: wipe them before they join as new nodes.
  - If "lost" nodes are only cut off and still serve, what they take from then on is
    LOST: stop them first, everywhere.
  - It CANNOT BE UNDONE.

Ask one of the survivors (--admin). It is refused while a majority survives (use
"dunlin node remove" or "dunlin node replace"), while a survivor does not answer, and
while a node that would be given up is alive. Reads and writes whose level can be met
need no majority of members. Without --force it says what it would do, or why that
would be refused, and does nothing.`,
		Example: `  dunlin recover --cluster dunlin --survivor 0f125b0b --reason "rack 2 burnt down"
  dunlin recover --force --cluster dunlin --survivor 0f125b0b --reason "rack 2 burnt down"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			if opts.cluster == "" || len(opts.survivors) == 0 || strings.TrimSpace(opts.reason) == "" {
				return &usageError{errors.New("give --cluster NAME, --survivor ID for each member that survives, and --reason TEXT")}
			}
			result, err := recoverCluster(cmd.Context(), cmd.ErrOrStderr(), c, opts)
			if output.json() && result != nil {
				err = errors.Join(printJSON(cmd.OutOrStdout(), result), err)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.force, "force", false, "do it")
	f.StringVar(&opts.cluster, "cluster", "", "the cluster's name, to confirm that this one is meant")
	f.StringArrayVar(&opts.survivors, "survivor", nil, "id of a member that survives, or its beginning; repeat it for each of them")
	f.StringVar(&opts.reason, "reason", "", "why: it is kept in the catalog and the log")
	port.add(cmd)
	output.add(cmd, "table", "json")
	return cmd
}

// recovery is what is given up for lost, or was.
type recovery struct {
	Recovered  bool     `json:"recovered"` // false: nothing was changed
	Cluster    string   `json:"cluster"`
	Generation uint64   `json:"generation"` // of the recovered cluster
	Survivors  []string `json:"survivors"`
	Lost       []string `json:"lost"`
}

// recoverCluster says loudly what is given up for lost, and does it if forced to. The
// result is nil if that could not be found out.
func recoverCluster(ctx context.Context, loud io.Writer, c *client.Admin, opts recoverOptions) (*recovery, error) {
	_, status, err := moves.Connect(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if status.Cluster != opts.cluster {
		return nil, &usageError{fmt.Errorf("recover: this node belongs to cluster %q, not %q", status.Cluster, opts.cluster)}
	}
	survivors, err := moves.ResolveAll(status, opts.survivors)
	if err != nil {
		return nil, &usageError{fmt.Errorf("recover: %w", err)}
	}
	result := &recovery{Cluster: status.Cluster, Generation: status.Generation + 1, Survivors: survivors, Lost: []string{}}
	for _, m := range status.Members {
		if !slices.Contains(survivors, m.ID) {
			result.Lost = append(result.Lost, m.ID)
		}
	}
	if last := recovered(status, survivors); last != nil {
		result.Recovered, result.Generation = true, last.Generation
		fmt.Fprintf(loud, "There is nothing to do: it was done already, at %s (generation %d, %s).\n", text.Time(&last.At), last.Generation, last.Reason)
		return result, nil
	}
	printRecovery(loud, status, survivors)
	request := client.RecoverRequest{Survivors: survivors, ClusterName: opts.cluster, Reason: opts.reason, DryRun: !opts.force}
	if err := c.Recover(ctx, request); err != nil {
		return result, fmt.Errorf("recover: %w", err)
	}
	if !opts.force {
		return result, &usageError{errors.New("recover: nothing was changed: repeat it with --force if the nodes above are lost for good")}
	}
	result.Recovered = true
	fmt.Fprint(loud, "RECOVERED. Wipe the lost nodes before any of them is started again. The survivors fill up what\nthe others held; follow it:  dunlin layout status --watch\n")
	return result, nil
}

// recovered finds the recovery that has left these survivors, and no other voters; nil if
// there was none.
func recovered(s admin.Status, survivors []string) *admin.Recovery {
	if len(s.Recoveries) == 0 {
		return nil
	}
	last := s.Recoveries[len(s.Recoveries)-1]
	if !slices.Equal(slices.Sorted(slices.Values(survivors)), slices.Sorted(slices.Values(last.Survivors))) {
		return nil
	}
	for _, m := range s.Members {
		if m.Voter && !slices.Contains(survivors, m.ID) {
			return nil
		}
	}
	return &last
}

// printRecovery lists who stays and who is given up.
func printRecovery(out io.Writer, s admin.Status, survivors []string) {
	fmt.Fprintf(out, "RECOVERY of cluster %s (%s), generation %d becomes %d. This cannot be undone.\n", s.Cluster, s.ClusterID, s.Generation, s.Generation+1)
	for _, m := range s.Members {
		what := "LOST for good, with what only it had; it can never come back"
		switch {
		case slices.Contains(survivors, m.ID) && !m.Alive:
			what = "survives (BUT IS NOT ALIVE as this node sees it)"
		case slices.Contains(survivors, m.ID):
			what = "survives"
		case m.Alive:
			what = "LOST for good (BUT IT IS ALIVE as this node sees it: stop it first)"
		}
		fmt.Fprintf(out, "  %s  %s  %s\n", text.Short(m.ID), m.HTTP, what)
	}
}
