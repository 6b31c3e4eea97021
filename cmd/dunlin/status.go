package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

func newStatusCommand() *cobra.Command {
	return showAnswer(&cobra.Command{
		Use:     "status",
		Short:   "Show the cluster as one node sees it: members, liveness, ranges, storage",
		Example: "  dunlin status\n  dunlin status --admin http://127.0.0.2:7483 -o json",
	}, (*client.Admin).Status, printStatus)
}

// showAnswer makes a command ask one node's admin port a question, and print the
// answer: as a table, or as it came.
func showAnswer[T any](cmd *cobra.Command, ask func(*client.Admin, context.Context) (json.RawMessage, error), table func(io.Writer, T) error) *cobra.Command {
	var port adminFlag
	var output outputFlag
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := port.client()
		if err != nil {
			return &usageError{err}
		}
		raw, err := ask(c, cmd.Context())
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), err)
		}
		var answer T
		return show(cmd.OutOrStdout(), output, raw, &answer, func(out io.Writer) error { return table(out, answer) })
	}
	port.add(cmd)
	output.add(cmd, "table", "json")
	return cmd
}

// show prints an answer as it came, or decodes it for a table.
func show(out io.Writer, o outputFlag, raw json.RawMessage, into any, table func(io.Writer) error) error {
	if o.json() {
		var any any
		if err := json.Unmarshal(raw, &any); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return printJSON(out, any)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return table(out)
}

func printStatus(out io.Writer, s admin.Status) error {
	sealed := "open: no data yet, nodes may join"
	if s.Sealed {
		sealed = "sealed: holds data"
	}
	fmt.Fprintf(out, "cluster %s (%s), catalog version %d, %s\n", s.Cluster, s.ClusterID, s.CatalogVersion, sealed)
	fmt.Fprintf(out, "this node: %s, version %s, boot %d, up %s, %s on disk, about %d rows\n", text.Short(s.Node), s.Version, s.Boot,
		(time.Duration(s.UptimeSeconds) * time.Second).String(), text.Bytes(s.Storage.Bytes), s.Storage.RowsEstimate)
	if !s.Ready {
		fmt.Fprintf(out, "NOT READY: %s\n", strings.Join(s.Unready, "; "))
	}
	if s.Change != nil {
		fmt.Fprintln(out, "change of the layout: "+moves.Line(s.Change))
		for _, w := range s.Change.Waiting {
			fmt.Fprintf(out, "WAITING: %s\n", w)
		}
	}
	moves.PrintReplacing(out, s)
	for _, r := range s.Recoveries {
		fmt.Fprintf(out, "RECOVERED by force at %s (generation %d, asked of %s): %s\n", text.Time(&r.At), r.Generation, text.Short(r.By), r.Reason)
	}
	fmt.Fprintln(out)
	var rows [][]string
	for _, m := range s.Members {
		rows = append(rows, []string{
			text.Short(m.ID), m.HTTP, m.Zone, m.State, aliveText(m), text.Time(m.Since), strconv.Itoa(m.RangesOwned), strconv.Itoa(m.ReplicasHeld), m.Detail,
		})
	}
	if err := text.Table(out, []string{"MEMBER", "HTTP", "ZONE", "STATE", "ALIVE", "SINCE", "RANGES OWNED", "REPLICAS HELD", ""}, rows); err != nil {
		return err
	}
	fmt.Fprintln(out)
	rows = nil
	for _, t := range s.Tables {
		rows = append(rows, []string{t.Name, text.Bytes(t.Bytes), windowsText(t), retentionText(t)})
	}
	return text.Table(out, []string{"TABLE", "ON THIS DISK", "WINDOWS", "RETENTION"}, rows)
}

func aliveText(m admin.Member) string {
	switch {
	case m.Self:
		return "yes (this node)"
	case m.Alive:
		return "yes"
	}
	return "NO"
}

func windowsText(t admin.Table) string {
	if t.WindowSeconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %s", t.Windows, daysText(t.WindowSeconds))
}

func retentionText(t admin.Table) string {
	switch {
	case t.WindowSeconds == 0:
		return "-"
	case t.RetentionSeconds == 0:
		return "unlimited"
	}
	return daysText(t.RetentionSeconds)
}

func daysText(seconds int64) string {
	if days := seconds / 86400; days > 0 && seconds%86400 == 0 {
		return strconv.FormatInt(days, 10) + "d"
	}
	return (time.Duration(seconds) * time.Second).String()
}

func newTableCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "table", Short: "Change tables", Example: "  dunlin table set dunlin.events --retention 30d"}
	var port adminFlag
	var change client.TableSettings
	var sloppy bool
	var output outputFlag
	set := &cobra.Command{
		Use:   "set KEYSPACE.TABLE",
		Short: "Change a table's settings",
		Long: `Change a table's settings; those that are not given stay as they are.

--retention drops whole time windows once their end has passed by that much: no
tombstones, no compaction. What was dropped does not come back when the retention
is raised again. --sloppy lets other nodes hold writes for replicas that are not
alive, and count towards W: more writes succeed, but reads at R + W > N may miss
them until they are handed over. --read-repair says what a read does about
replicas that it finds behind.`,
		Example: "  dunlin table set dunlin.events --retention 30d\n  dunlin table set dunlin.events --retention unlimited --sloppy=false\n  dunlin table set dunlin.kv --read-repair async",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("sloppy") {
				change.Sloppy = &sloppy
			}
			if change == (client.TableSettings{}) {
				return &usageError{errors.New("give --retention, --sloppy or --read-repair")}
			}
			if change.Retention != "" {
				if _, err := admin.ParseRetention(change.Retention); err != nil {
					return &usageError{err}
				}
			}
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			raw, err := c.SetTable(cmd.Context(), args[0], change)
			if err != nil {
				return fmt.Errorf("table set: %w", err)
			}
			if output.json() {
				return show(cmd.OutOrStdout(), output, raw, nil, nil)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: changed\n", args[0])
			return err
		},
	}
	set.Flags().StringVar(&change.Retention, "retention", "", "how long windows are kept after their end: 30d, 26w, 36h, or unlimited")
	set.Flags().BoolVar(&sloppy, "sloppy", false, "other nodes may stand in for replicas that are not alive")
	set.Flags().StringVar(&change.ReadRepair, "read-repair", "", "blocking, async or off")
	output.add(set, "table", "json")
	port.add(set)
	cmd.AddCommand(set)
	return cmd
}
