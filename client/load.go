package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
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

// LoadResult is what became of the lines. Errors holds the first errorsMax.
type LoadResult struct {
	Accepted int
	Failed   int
	Errors   []LineError
}

const (
	errorsMax   = 100
	windowLines = 32 << 10 // lines sent and not decided
	windowBytes = 16 << 20
	answerMax   = 1 << 20 // one line of an answer
)

// Load streams lines (one event each, without line end, every one with an id or a
// key, so that it can be sent again) and returns when all are decided. next gives
// the lines and ends with io.EOF; it is called from one goroutine at a time, which
// ends with Load unless next itself blocks. When a connection breaks, what was
// not decided is sent again, to the next node.
func (c *Client) Load(ctx context.Context, next func() ([]byte, error), o LoadOptions) (LoadResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loader{c: c, o: o, lines: make(chan line, 1024), room: make(chan struct{}, 1)}
	go l.read(ctx, next)
	pause, barren := c.cfg.PauseMin, 0
	for {
		before := l.decided()
		err := l.attempt(ctx)
		if err == nil && l.finished() {
			return l.result, l.sourceError()
		}
		if ctx.Err() != nil {
			return l.result, ctx.Err()
		}
		var p *Problem
		if errors.As(err, &p) && !p.Retryable() {
			return l.result, err
		}
		if l.decided() > before {
			pause, barren = c.cfg.PauseMin, 0
			continue
		}
		if barren++; barren >= c.cfg.Attempts {
			return l.result, fmt.Errorf("client: no progress after %d attempts: %w", barren, err)
		}
		if err := sleep(ctx, pause); err != nil {
			return l.result, err
		}
		pause = min(2*pause, c.cfg.PauseMax)
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

	mu      sync.Mutex // guards the fields below
	pending []line     // sent in this attempt and not decided, in order
	bytes   int        // of pending
	again   []line     // decided as retryable failures
	ended   bool       // the source has no more
	source  error      // why the source ended, if not at its end

	result LoadResult // belongs to Load's goroutine
}

// read passes the source's lines on.
func (l *loader) read(ctx context.Context, next func() ([]byte, error)) {
	defer close(l.lines)
	for number := 1; ; number++ {
		text, err := next()
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	for _, ln := range l.again {
		l.bytes += len(ln.text)
	}
	l.pending = append(l.again, l.pending...)
	l.again = nil
	resend := append([]line(nil), l.pending...)
	l.mu.Unlock()

	pr, pw := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() { pw.CloseWithError(l.send(ctx, pw, resend)) })
	defer func() {
		cancel()
		_ = pr.Close() // wakes a sender that is blocked
		sending.Wait()
	}()
	req, err := l.request(ctx, pr)
	if err != nil {
		return err
	}
	resp, err := l.c.cfg.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	l.c.observe(resp.Header)
	if resp.StatusCode >= 400 {
		return readProblem(resp)
	}
	defer resp.Body.Close()
	return l.answers(resp.Body)
}

func (l *loader) request(ctx context.Context, body io.Reader) (*http.Request, error) {
	path, query := "/v1/events", url.Values{}
	if l.o.Stream != "" {
		path, query = streamPath("/events", l.o.Stream)
	}
	query.Set("ack", "errors")
	setLevel(query, "w", l.o.Level)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.c.node()+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Accept", "application/x-ndjson")
	return req, nil
}

// send writes lines; it flushes whenever no more are at hand.
func (l *loader) send(ctx context.Context, w io.Writer, resend []line) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, ln := range resend {
		if err := writeLine(out, ln.text); err != nil {
			return err
		}
	}
	for {
		if len(l.lines) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
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
	scanner.Buffer(make([]byte, 64<<10), answerMax)
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
	retry := p != nil && p.Retryable()
	if retry {
		l.again = append(l.again, ln)
	}
	l.mu.Unlock()
	select {
	case l.room <- struct{}{}:
	default:
	}
	switch {
	case retry:
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
