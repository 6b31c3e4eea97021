package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group runs long-lived parts that start in order and stop in reverse order.
// It owns their goroutines: stop returns after the last has ended.
type group struct {
	parts  []*part
	failed chan struct{} // closed at the first failure
	once   sync.Once
}

// part is one started component.
type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done is closed
}

func newGroup() *group {
	return &group{failed: make(chan struct{})}
}

// start runs a component until stop. The component's context is independent
// of its neighbours', so that each stops only when its turn comes; a component
// that returns early with an error ends the whole group.
func (g *group) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	g.parts = append(g.parts, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			p.err = fmt.Errorf("%s: %w", name, err)
			g.once.Do(func() { close(g.failed) })
		}
	}()
}

// until is a context that ends with ctx, and when a part fails.
func (g *group) until(ctx context.Context) context.Context {
	inner, cancel := context.WithCancel(ctx)
	g.start("watch", func(stopped context.Context) error {
		defer cancel()
		select {
		case <-stopped.Done():
		case <-g.failed:
		}
		return nil
	})
	return inner
}

// wait blocks until ctx ends or a part fails; stop returns its error.
func (g *group) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-g.failed:
	}
}

// stop ends the parts, last started first, waiting for each, and returns their
// errors.
func (g *group) stop() error {
	var errs []error
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		<-p.done
		if p.err != nil {
			errs = append(errs, p.err)
		}
	}
	return errors.Join(errs...)
}
