package httpapi

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/httpapi/problem"
)

// route is one method of one path. Its handler returns an error instead of
// writing one.
type route struct {
	pattern string // "METHOD /path", as http.ServeMux has it
	handle  func(w *answer, r *http.Request) error
}

// routes lists the whole API. Paths that hold a stream's name have a sibling that
// takes it from ?stream=, since proxies like to rewrite %2F.
func (a *API) routes() []route {
	routes := []route{
		{"POST /v1/events", a.postEvents},
		{"GET /v1/events", reserved("a feed of all streams")},
		{"GET /v1/streams", a.getStreams},
		{"PUT /v1/kv/{bucket}/{key}", a.putValue},
		{"GET /v1/kv/{bucket}/{key}", a.getValue},
		{"DELETE /v1/kv/{bucket}/{key}", a.deleteValue},
		{"GET /v1/openapi.yaml", getOpenAPI},
	}
	for _, at := range []string{"/v1/streams/{stream}", "/v1/stream"} {
		routes = append(routes, []route{
			{"POST " + at + "/events", a.postStreamEvents},
			{"GET " + at + "/events", a.getEvents},
			{"GET " + at + "/events/{id}", a.getEvent},
			{"DELETE " + at + "/events/{id}", a.deleteEvent},
			{"DELETE " + at, a.deleteStream},
			{"GET " + at + "/tail", reserved("following a stream")},
		}...)
	}
	return routes
}

func reserved(what string) func(*answer, *http.Request) error {
	return func(*answer, *http.Request) error {
		return &problem.NotImplementedError{Detail: what + " is reserved for a later version"}
	}
}

// register adds the routes to the mux, and what answers all other requests.
func (a *API) register(routes []route) {
	allowed := map[string][]string{} // methods by path
	for _, rt := range routes {
		method, path, _ := strings.Cut(rt.pattern, " ")
		allowed[path] = append(allowed[path], method)
		a.mux.Handle(rt.pattern, a.serve(rt))
	}
	for path, methods := range allowed {
		slices.Sort(methods)
		a.mux.Handle(path, a.serve(route{handle: a.wrongMethod(strings.Join(methods, ", "))}))
	}
	a.mux.Handle("/", a.serve(route{handle: a.noSuchPath}))
}

// serve makes a route's handler: it counts, times, and turns errors to problems.
func (a *API) serve(rt route) http.Handler {
	m := a.metrics.routes[rt.pattern] // of the empty pattern: all that has no route
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		out := a.newAnswer(w)
		defer func() { m.observe(out.status, time.Since(start)) }()
		if err := rt.handle(out, r); err != nil {
			a.fail(out, r, err)
		}
	})
}

func (a *API) wrongMethod(allowed string) func(*answer, *http.Request) error {
	return func(w *answer, r *http.Request) error {
		w.Header().Set("Allow", allowed)
		w.problem(problem.New("method-not-allowed", http.StatusMethodNotAllowed,
			problem.Quoted(r.Method)+" is not allowed here: use "+allowed))
		return nil
	}
}

func (a *API) noSuchPath(_ *answer, r *http.Request) error {
	return &problem.NotFoundError{Detail: "no such path: " + problem.Quoted(r.URL.Path) + "; /v1/openapi.yaml lists all"}
}

// canonical reports whether a path is what the mux would leave it. Others would
// be redirected, to another stream than was meant if its name is "" or "..".
func canonical(p string) bool {
	clean := path.Clean(p)
	return p == clean || p == clean+"/"
}
