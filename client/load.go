package client

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// LoadOptions say how lines are loaded.
type LoadOptions struct {
	Stream string // all lines go there; empty: each line names its "stream"
	Level  string
	// Progress, if set, hears how many lines are decided; it must not block.
	Progress func(accepted, failed int)
}

// LineError is a line that was refused for good.
type LineError struct {
	Line    int
	Problem *Problem
}

// BadLine is what a source returns for a line that it refuses by itself: the line
// counts as failed, and the load goes on.
type BadLine struct {
	Line   int
	Reason string
}

func (e *BadLine) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// LoadResult is what became of the lines. Errors holds the first errorsMax.
type LoadResult struct {
	Accepted int
	Failed   int
	Errors   []LineError
}

const (
	errorsMax     = 100
	windowLines   = 32 << 10 // lines sent and not decided
	windowBytes   = 16 << 20
	answerLineMax = 1 << 20
)

// Load streams lines (one event each, without line end, every one with an id or a
// key, so that it can be sent again) and returns when all are decided. next gives
// the lines and ends with io.EOF; it is called from one goroutine, and a call may
// still be in progress when Load returns with an error. When a connection breaks or a node is
// silent for too long, what was not decided is sent again, to the next node, and
// so is what a node refused for now.
func (c *Client) Load(ctx context.Context, next func() ([]byte, error), o LoadOptions) (LoadResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loader{c: c, o: o, lines: make(chan line, 1024), room: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	go l.read(ctx, next)
	err := l.run(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Failed += l.badLines
	l.result.Errors = append(l.result.Errors, l.bad...)
	slices.SortFunc(l.result.Errors, func(a, b LineError) int { return cmp.Compare(a.Line, b.Line) })
	l.result.Errors = l.result.Errors[:min(len(l.result.Errors), errorsMax)]
	return l.result, err
}

// run makes attempts until all lines are decided.
func (l *loader) run(ctx context.Context) error {
	c := l.c
	pause, barren := c.cfg.PauseMin, 0
	for {
		before := l.decided()
		err := l.attempt(ctx)
		switch {
		case err == nil && l.finished():
			return l.sourceError()
		case ctx.Err() != nil:
			return ctx.Err()
		case final(err) && !c.forgetClock(err):
			return err
		}
		if l.decided() > before {
			pause, barren = c.cfg.PauseMin, 0
		} else if barren++; barren >= c.cfg.Attempts {
			return fmt.Errorf("client: no progress after %d attempts: %w", barren, l.reason(err))
		}
		if asked := max(retryAfter(err), retryAfter(l.refused)); barren > 0 || asked > 0 {
			if err := c.sleep(ctx, max(pause, asked)); err != nil {
				return err
			}
			pause = min(2*pause, c.cfg.PauseMax)
		}
	}
}

// line is one line with its number in the source.
type line struct {
	number int
	text   []byte
}

// loader is one Load in progress.
type loader struct {
	c     *Client
	o     LoadOptions
	lines chan line
	room  chan struct{} // one slot: lines were decided
	turn  chan struct{} // one slot: a line was refused for now, so that the attempt should end

	mu       sync.Mutex  // guards the fields below
	pending  []line      // sent in this attempt and not decided, in order
	bytes    int         // of pending
	again    []line      // refused for now
	news     uint64      // lines decided in all attempts, those refused for now too
	ended    bool        // the source has no more
	source   error       // why the source ended, if not at its end
	bad      []LineError // refused by the source, the first errorsMax
	badLines int         // refused by the source

	// These belong to Load's goroutine.
	result  LoadResult
	refused error // the last line of this attempt that a node refused for now
}

// errSilent ends an attempt at a node that has not answered for too long.
var errSilent = errors.New("the node does not answer")

// reason is why an attempt decided nothing, if it ended without an error.
func (l *loader) reason(err error) error {
	switch {
	case err != nil:
		return err
	case l.refused != nil:
		return l.refused
	}
	return errors.New("the node ended its answer early")
}

// read passes the source's lines on.
func (l *loader) read(ctx context.Context, next func() ([]byte, error)) {
	defer close(l.lines)
	for number := 1; ctx.Err() == nil; number++ {
		text, err := next()
		if bad := (*BadLine)(nil); errors.As(err, &bad) {
			l.refuse(bad)
			continue
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.mu.Lock()
				l.source = err
				l.mu.Unlock()
			}
			return
		}
		select {
		case l.lines <- line{number, text}:
		case <-ctx.Done():
			return
		}
	}
}

// refuse notes a line that the source has refused.
func (l *loader) refuse(bad *BadLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.badLines++
	if len(l.bad) < errorsMax {
		l.bad = append(l.bad, LineError{Line: bad.Line, Problem: &Problem{Title: "Bad line", Detail: bad.Reason}})
	}
}

func (l *loader) decided() int { return l.result.Accepted + l.result.Failed }

func (l *loader) finished() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended && len(l.pending) == 0 && len(l.again) == 0
}

func (l *loader) sourceError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source
}

// attempt opens one request, sends what an earlier one left undecided and then
// new lines, and reads the answers until the node ends them.
func (l *loader) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.refused = nil
	resend := l.undecided()
	pr, pw := io.Pipe()
	var helpers sync.WaitGroup
	helpers.Go(func() { pw.CloseWithError(l.send(ctx, pw, resend)) })
	helpers.Go(func() { l.watch(ctx, cancel) })
	defer func() {
		cancel(nil)
		_ = pr.Close() // wakes a sender that is blocked
		helpers.Wait()
	}()
	n := l.c.pick()
	req, err := l.c.newRequest(ctx, n, l.request(), pr)
	if err != nil {
		return err
	}
	resp, err := l.c.send(n, req)
	if err != nil {
		return silence(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, answerLineMax))
		if err != nil {
			return fmt.Errorf("client: read the answer of %s: %w", n.url, err)
		}
		return newProblem(resp.StatusCode, resp.Header, body)
	}
	err = l.answers(resp.Body)
	l.c.observe(resp.Trailer)
	if err = silence(ctx, err); errors.Is(err, errSilent) {
		n.shun()
	}
	return err
}

// silence names errSilent as the reason of an error that it caused.
func silence(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return fmt.Errorf("client: %w", errSilent)
	}
	return err
}

// undecided takes the lines that the next attempt sends again.
func (l *loader) undecided() []line {
	select {
	case <-l.turn:
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.again {
		l.bytes += len(ln.text)
	}
	l.pending = append(l.again, l.pending...)
	l.again = nil
	return append([]line(nil), l.pending...)
}

// watch ends an attempt when lines are sent and nothing is decided for Stall.
func (l *loader) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(max(l.c.cfg.Stall/4, time.Millisecond))
	defer ticker.Stop()
	last, since := uint64(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			l.mu.Lock()
			news, waiting := l.news, len(l.pending) > 0
			l.mu.Unlock()
			switch {
			case news != last || !waiting:
				last, since = news, now
			case now.Sub(since) >= l.c.cfg.Stall:
				cancel(errSilent)
				return
			}
		}
	}
}

func (l *loader) request() *request {
	r := &request{method: http.MethodPost, path: "/v1/events", query: url.Values{}, header: contentType("application/x-ndjson")}
	if l.o.Stream != "" {
		r.path, r.query = streamPath("/events", l.o.Stream)
	}
	r.header["Accept"] = "application/x-ndjson"
	r.query.Set("ack", "errors")
	setLevel(r.query, "w", l.o.Level)
	return r
}

// send writes lines; it flushes whenever no more are at hand. It ends the body
// early when a line was refused for now: the node then decides what it has, and
// the next attempt sends that line again.
func (l *loader) send(ctx context.Context, w io.Writer, resend []line) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, ln := range resend {
		if err := writeLine(out, ln.text); err != nil {
			return err
		}
	}
	for len(l.turn) == 0 {
		if len(l.lines) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.turn:
			return out.Flush()
		case ln, ok := <-l.lines:
			if !ok {
				l.mu.Lock()
				l.ended = true
				l.mu.Unlock()
				return out.Flush()
			}
			if err := l.admit(ctx, out, ln); err != nil {
				return err
			}
			if err := writeLine(out, ln.text); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

func writeLine(out *bufio.Writer, text []byte) error {
	if _, err := out.Write(text); err != nil {
		return err
	}
	return out.WriteByte('\n')
}

// admit notes a line as sent, once there is room in the window. A line that is
// taken from the source is never lost: it is pending from here on.
func (l *loader) admit(ctx context.Context, out *bufio.Writer, ln line) error {
	l.mu.Lock()
	l.pending = append(l.pending, ln)
	l.bytes += len(ln.text)
	full := len(l.pending) > windowLines || l.bytes > windowBytes
	l.mu.Unlock()
	for full {
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.room:
		}
		l.mu.Lock()
		full = len(l.pending) > windowLines || l.bytes > windowBytes
		l.mu.Unlock()
	}
	return nil
}

// answerLine is one line of the answer with ack=errors.
type answerLine struct {
	Line    int      `json:"line"`
	Error   *Problem `json:"error"`
	Through int      `json:"through"`
}

// answers reads the node's decisions. Line numbers are the request's.
func (l *loader) answers(body io.Reader) error {
	scanner := bufio.NewScanner(body)
	scanner.Buffer(make([]byte, 64<<10), answerLineMax)
	failed := map[int]*Problem{}
	decided := 0
	for scanner.Scan() {
		var a answerLine
		if err := json.Unmarshal(scanner.Bytes(), &a); err != nil {
			return fmt.Errorf("client: the answer is not readable: %w", err)
		}
		switch {
		case a.Error != nil && a.Line == 0: // the whole request ends here
			return a.Error
		case a.Error != nil:
			failed[a.Line] = a.Error
		}
		for ; decided < a.Through; decided++ {
			if !l.decide(failed[decided+1]) {
				return errors.New("client: the node decided lines that were not sent")
			}
			delete(failed, decided+1)
		}
		if l.o.Progress != nil {
			l.o.Progress(l.result.Accepted, l.result.Failed)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

// decide takes the oldest pending line off.
func (l *loader) decide(p *Problem) bool {
	l.mu.Lock()
	if len(l.pending) == 0 {
		l.mu.Unlock()
		return false
	}
	ln := l.pending[0]
	l.pending = l.pending[1:]
	l.bytes -= len(ln.text)
	l.news++
	retry := p != nil && p.Retryable()
	if retry {
		l.again = append(l.again, ln)
	}
	l.mu.Unlock()
	wake(l.room)
	switch {
	case retry:
		l.refused = p
		wake(l.turn)
	case p != nil:
		l.result.Failed++
		if len(l.result.Errors) < errorsMax {
			l.result.Errors = append(l.result.Errors, LineError{Line: ln.number, Problem: p})
		}
	default:
		l.result.Accepted++
	}
	return true
}

// wake fills a channel's one slot.
func wake(slot chan struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}
