package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// lineMax is the longest line that is read from a file.
const lineMax = 18 << 20

func newEventCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "event", Short: "Append, load and read events",
		Example: "  dunlin event append sessions < events.ndjson\n  dunlin event load -f events.ndjson --key line\n  dunlin event read sessions --limit 10",
	}
	cmd.AddCommand(newEventAppend(), newEventLoad(), newEventRead())
	return cmd
}

func newEventAppend() *cobra.Command {
	var nodes httpFlag
	var level, format, kind string
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "append STREAM [FILE|-]",
		Short: "Append events to a stream, as they come",
		Long: `Append events to a stream, from a file or from standard input, and acknowledge
them as they come. --format says what a line is: ndjson, an event each
({"data":…,"type"?,"time"?,"id"?,"key"?}); json, the same for one event over any
number of lines; lines, plain text, each line the data of an event.`,
		Example: `  echo '{"type":"login","data":{"user":"ada"}}' | dunlin event append sessions
  tail -f /var/log/syslog | dunlin event append syslog - --format lines --type line
  dunlin event append orders orders.ndjson --w all`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, closeInput, err := openInput(cmd, args[1:])
			if err != nil {
				return fmt.Errorf("event append: %w", err)
			}
			defer closeInput()
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			next, err := appendLines(c, in, format, kind)
			if err != nil {
				return &usageError{err}
			}
			return load(cmd, c, next, client.LoadOptions{Stream: args[0], Level: level}, output)
		},
	}
	nodes.add(cmd)
	levelFlag(cmd, "w", &level)
	output.add(cmd, "table", "json")
	cmd.Flags().StringVar(&format, "format", "ndjson", "what the input is: ndjson, json, or lines")
	cmd.Flags().StringVar(&kind, "type", "", "type of events that name none")
	return cmd
}

func newEventLoad() *cobra.Command {
	var nodes httpFlag
	var level, file, key string
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "load -f FILE.ndjson",
		Short: "Load events of many streams from a file",
		Long: `Load events whose lines carry "stream". --key makes a repeated load store
nothing twice: "line" derives each event's id from its time, line number and
content; any other word names a field of the event's data that is sent as its key.`,
		Example: "  dunlin event load -f events.ndjson --key line\n  dunlin event load -f orders.ndjson --key order_id --w all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return &usageError{errors.New("-f is missing: name the file to load, or - for standard input")}
			}
			in, closeInput, err := openInput(cmd, []string{file})
			if err != nil {
				return fmt.Errorf("event load: %w", err)
			}
			defer closeInput()
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			return load(cmd, c, loadLines(c, in, key), client.LoadOptions{Level: level}, output)
		},
	}
	nodes.add(cmd)
	levelFlag(cmd, "w", &level)
	output.add(cmd, "table", "json")
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to load; - is standard input")
	cmd.Flags().StringVar(&key, "key", "", "make a repeated load idempotent: line, or the name of a field of data")
	return cmd
}

// openInput opens the named file, or standard input for "-" or nothing.
func openInput(cmd *cobra.Command, args []string) (io.Reader, func(), error) {
	if len(args) == 0 || args[0] == "-" {
		return cmd.InOrStdin(), func() {}, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil // it was only read
}

// load streams lines, draws progress, and says what became of them.
func load(cmd *cobra.Command, c *client.Client, next func() ([]byte, error), o client.LoadOptions, output outputFlag) error {
	if interactive() {
		bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetItsString("events"), progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		o.Progress = func(accepted, failed int) { _ = bar.Set(accepted + failed) } // a bar that cannot be drawn changes nothing
		defer func() { _ = bar.Finish() }()
	}
	result, err := c.Load(cmd.Context(), next, o)
	if result.Failed > 0 && err == nil {
		err = fmt.Errorf("%d lines were refused", result.Failed)
	}
	return errors.Join(printLoaded(cmd, result, output), err)
}

// printLoaded says what became of the lines; as text the refused ones go to
// standard error.
func printLoaded(cmd *cobra.Command, result client.LoadResult, output outputFlag) error {
	type refused struct {
		Line   int    `json:"line"`
		Detail string `json:"detail"`
	}
	answer := struct {
		Stored  int       `json:"stored"`
		Refused int       `json:"refused"`
		Errors  []refused `json:"errors"`
	}{result.Accepted, result.Failed, []refused{}}
	for _, e := range result.Errors {
		answer.Errors = append(answer.Errors, refused{e.Line, e.Problem.Detail})
	}
	if output.json() {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	for _, e := range answer.Errors {
		fmt.Fprintf(cmd.ErrOrStderr(), "line %d: %s\n", e.Line, e.Detail)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d stored, %d refused\n", answer.Stored, answer.Refused)
	return err
}

func newEventRead() *cobra.Command {
	var nodes httpFlag
	var output outputFlag
	var o client.ReadOptions
	var order string
	cmd := &cobra.Command{
		Use:   "read STREAM",
		Short: "Read a stream's events, in order of their ids",
		Long: `Read a stream's events in order of their ids, which is their order in time.
Polling with --after can miss events that arrive late with an earlier time.`,
		Example: `  dunlin event read sessions
  dunlin event read sessions --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --order desc --limit 10 -o table`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if order != "asc" && order != "desc" {
				return &usageError{fmt.Errorf("--order is %q: give asc or desc", order)}
			}
			o.Desc = order == "desc"
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			return wrap("event read", readEvents(cmd, c, args[0], o, output))
		},
	}
	nodes.add(cmd)
	output.add(cmd, "ndjson", "table")
	levelFlag(cmd, "r", &o.Level)
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "first time, RFC 3339 or Unix milliseconds")
	f.StringVar(&o.To, "to", "", "end, exclusive")
	f.StringVar(&o.After, "after", "", "go on after this id")
	f.IntVar(&o.Limit, "limit", 0, "at most so many events; 0: all")
	f.StringVar(&order, "order", "asc", "asc or desc")
	return cmd
}

func readEvents(cmd *cobra.Command, c *client.Client, stream string, o client.ReadOptions, form outputFlag) error {
	out := bufio.NewWriter(cmd.OutOrStdout())
	if form.value == "table" {
		return readTable(cmd, c, stream, o, out)
	}
	for ev, err := range c.Events(cmd.Context(), stream, o) {
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if err := writeEvent(out, ev); err != nil {
			return err
		}
	}
	return out.Flush()
}

// writeEvent writes an event as a line, its data as it was stored.
func writeEvent(out *bufio.Writer, ev client.Event) error {
	head, err := json.Marshal(struct {
		ID   string `json:"id"`
		Time string `json:"time"`
		Type string `json:"type,omitempty"`
	}{ev.ID, ev.Time, ev.Type})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s,\"data\":%s}\n", head[:len(head)-1], oneLine(ev.Data))
	return err
}

// oneLine replaces the line breaks between the tokens of JSON.
func oneLine(data []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, data)
}

func readTable(cmd *cobra.Command, c *client.Client, stream string, o client.ReadOptions, out *bufio.Writer) error {
	var rows [][]string
	for ev, err := range c.Events(cmd.Context(), stream, o) {
		if err != nil {
			return err
		}
		rows = append(rows, []string{ev.Time, ev.Type, string(oneLine(ev.Data))})
	}
	return errors.Join(text.Table(out, []string{"TIME", "TYPE", "DATA"}, rows), out.Flush())
}

// outIsTerminal reports whether a person reads the output.
func outIsTerminal() bool { return term.IsTerminal(int(os.Stdout.Fd())) }
