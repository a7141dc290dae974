package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// handler answers one call. An error it returns is answered by respondError; it must then have written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods are a resource's handlers by HTTP method. HEAD and OPTIONS come for free.
type methods map[string]handler

// Handler answers all requests; with a token, only those that show it.
func (s *Server) Handler(token string) http.Handler { return s.handler(token, "") }

func (s *Server) handler(token, discoveryToken string) http.Handler {
	return http.HandlerFunc(func(plain http.ResponseWriter, r *http.Request) {
		w, r := s.measured.begin(plain, r, s.o.Now())
		defer func() { w.end(s.o.Now()) }()
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // what was panicked with, not an error
				w.code = http.StatusInternalServerError
				s.log.WithField("path", r.URL.Path).WithField("stack", string(debug.Stack())).Errorf("request panicked: %v", p)
				panic(http.ErrAbortHandler)
			} else if p != nil {
				panic(p)
			}
		}()
		s.commonHeaders(w)
		if s.cors(w, r) {
			return
		}
		if s.measured.active.Load() > int64(s.o.MaxConcurrent) {
			w.Header().Set("Retry-After", "1")
			_ = respond(w, r, http.StatusServiceUnavailable, errorBody{Message: "Too many concurrent requests."})
			return
		}
		if token != "" && !authorized(r, token) && !mayDiscover(r, discoveryToken) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Berth", charset="UTF-8"`)
			_ = respond(w, r, http.StatusUnauthorized, errorBody{Message: "Invalid username or password."})
			return
		}
		if foreignOrigin(r) && !s.allowedOrigin(r) {
			_ = respond(w, r, http.StatusForbidden, errorBody{Message: "Requests from pages of other sites are refused."})
			return
		}
		if err := s.serve(w, r); err != nil {
			s.respondError(w, r, err)
		}
	})
}

func (s *Server) commonHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-XSS-Protection", "1; mode=block")
	h.Set("X-Content-Type-Options", "nosniff")
	if l := s.o.Info.Leader; l != "" && !strings.HasPrefix(l, "unix:") { // a socket's path is no URL
		h.Set("X-Marathon-Leader", "http://"+s.o.Info.Leader)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	found := s.route(segments(r.URL.Path))
	if found == nil {
		return fail(http.StatusNotFound, "URI not found: %s", r.URL.Path)
	}
	method := r.Method
	if method == http.MethodHead && found[method] == nil {
		method = http.MethodGet
	}
	h := found[method]
	if h == nil {
		w.Header().Set("Allow", allowed(found))
		if method == http.MethodOptions {
			return respondBytes(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(allowed(found)))
		}
		return fail(http.StatusMethodNotAllowed, "%s is not possible on %s; possible: %s", r.Method, r.URL.Path, allowed(found))
	}
	return h(w, r)
}

func allowed(m methods) string {
	names := []string{http.MethodOptions}
	for name := range m {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// segments splits a decoded path. Empty parts are dropped: real clients send "/v2/apps/" and "/v2/apps//id"; "%2F" has
// become "/" already.
func segments(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(p string) bool { return p == "" })
}

// route finds the resource of a path; nil when there is none. Resources of Marathon that Berth has not (pods)
// are added here, one line each.
func (s *Server) route(p []string) methods {
	switch {
	case is(p, "ping"):
		return methods{"GET": s.ping}
	case len(p) >= 2 && p[0] == "v2" && p[1] == "apps":
		return s.routeApps(p[2:])
	case len(p) >= 2 && p[0] == "v2" && p[1] == "groups":
		return s.routeGroups(p[2:])
	case len(p) >= 2 && p[0] == "v2" && p[1] == "tasks":
		return s.routeTasks(p[2:])
	case len(p) >= 2 && p[0] == "v2" && p[1] == "pods":
		return s.routePods(p[2:])
	case is(p, "v2", "deployments"):
		return methods{"GET": s.json(s.listDeployments)}
	case len(p) == 3 && p[0] == "v2" && p[1] == "deployments":
		return methods{"DELETE": s.deleteDeployment(p[2])}
	case is(p, "v2", "queue"):
		return methods{"GET": s.json(s.getQueue)}
	case len(p) >= 4 && p[0] == "v2" && p[1] == "queue" && p[len(p)-1] == "delay":
		return methods{"DELETE": s.deleteDelay(appID(p[2 : len(p)-1]))}
	case is(p, "v2", "info"):
		return methods{"GET": s.json(s.getInfo)}
	case is(p, "v2", "leader"):
		return methods{"GET": s.json(s.getLeader), "DELETE": s.json(s.deleteLeader)}
	case is(p, "v2", "plugins"): // there are none: what is below a plugin's id is not there
		return methods{"GET": s.json(s.getPlugins)}
	case is(p, "metrics"):
		return methods{"GET": s.json(s.getMetrics)}
	case is(p, "metrics", "prometheus"):
		return methods{"GET": s.getPrometheus}
	case is(p, "logging") && s.levels != nil:
		return methods{"GET": s.json(s.getLogging), "POST": s.json(s.postLogging)}
	case is(p, "v2", "events"):
		return methods{"GET": s.getEvents}
	case len(p) >= 2 && p[0] == "berth" && p[1] == "v1":
		return s.routeBerth(p[2:])
	}
	return nil
}

// routeApps finds the resource below /v2/apps. The first reserved word ends the id; where an id would begin it is a group's
// name.
func (s *Server) routeApps(p []string) methods {
	if len(p) == 0 {
		return methods{
			"GET": s.json(s.listApps), "POST": s.json(s.postApp),
			"PUT": s.json(s.putApps(true)), "PATCH": s.json(s.putApps(false)),
		}
	}
	end := 1 + slices.IndexFunc(p[1:], func(word string) bool { return word == "tasks" || word == "versions" || word == "restart" })
	if end == 0 {
		if p[len(p)-1] == "*" {
			return methods{"GET": s.json(s.getGroupApps(appID(p[:len(p)-1])))}
		}
		id := appID(p)
		return methods{
			"GET": s.json(s.getApp(id)), "PUT": s.json(s.putApp(id, true)),
			"PATCH": s.json(s.putApp(id, false)), "DELETE": s.json(s.deleteApp(id)),
		}
	}
	id, word, rest := appID(p[:end]), p[end], p[end+1:]
	switch {
	case word == "tasks" && len(rest) == 0:
		return methods{"GET": s.getAppTasks(id), "DELETE": s.json(s.deleteAppTasks(id))}
	case word == "tasks" && len(rest) == 1:
		return methods{"DELETE": s.json(s.deleteAppTask(id, rest[0]))}
	case word == "versions" && len(rest) == 0:
		return methods{"GET": s.json(s.getVersions(id))}
	case word == "versions" && len(rest) == 1:
		return methods{"GET": s.json(s.getVersion(id, rest[0]))}
	case word == "restart" && len(rest) == 0:
		return methods{"POST": s.json(s.restartApp(id))}
	}
	return nil
}

// routeGroups finds the resource below /v2/groups. Groups may be called "apps", so the word only matters at the end.
func (s *Server) routeGroups(p []string) methods {
	if end := slices.Index(p, "versions"); end >= 0 {
		id, rest := appID(p[:end]), p[end+1:]
		switch len(rest) {
		case 0:
			return methods{"GET": s.json(s.getGroupVersions(id))}
		case 1:
			return methods{"GET": s.json(s.getGroupVersion(id, rest[0]))}
		}
		return nil
	}
	id := appID(p)
	get := s.getGroup(id)
	if n := len(p); n > 0 && p[n-1] == "apps" {
		get = s.getAppsOfGroup(appID(p[:n-1]), id)
	}
	return methods{
		"GET": s.json(get), "POST": s.json(s.putGroup(id, true)), "PUT": s.json(s.putGroup(id, false)),
		"PATCH": s.json(s.patchGroup(id)), "DELETE": s.json(s.deleteGroup(id)),
	}
}

func (s *Server) routeTasks(p []string) methods {
	switch {
	case len(p) == 0:
		return methods{"GET": s.getTasks}
	case is(p, "delete"):
		return methods{"POST": s.json(s.deleteTasks)}
	}
	return nil
}

func (s *Server) routeBerth(p []string) methods {
	switch {
	case is(p, "instances"):
		return methods{"PATCH": s.json(s.patchInstances), "GET": s.json(s.getInstances)}
	case is(p, "deployments"):
		return methods{"GET": s.json(s.getRecords)}
	case is(p, "why"):
		return methods{"GET": s.json(s.getWhy)}
	case is(p, "policies"):
		return methods{"GET": s.json(s.getPolicies)}
	case is(p, "addresses"):
		return methods{"GET": s.json(s.getAddresses)}
	case is(p, "addresses", "check"):
		return methods{"POST": s.json(s.postAddressCheck)}
	case len(p) == 2 && p[0] == "addresses":
		return methods{"GET": s.json(s.getAddress(p[1])), "DELETE": s.json(s.deleteAddress(p[1]))}
	case is(p, "logs"):
		return methods{"GET": s.getLogs}
	case is(p, "images", "pulls"):
		return methods{"POST": s.json(s.postPull)}
	case len(p) == 3 && p[0] == "images" && p[1] == "pulls":
		return methods{"GET": s.json(s.getPull(p[2]))}
	case is(p, "drift"):
		return methods{"GET": s.json(s.getDrift), "POST": s.json(s.postDrift)}
	case is(p, "resize"):
		return methods{"POST": s.json(s.postResize)}
	case is(p, "zabbix", "discovery"):
		return methods{"GET": s.json(s.getZabbixDiscovery)}
	case is(p, "prometheus", "targets"):
		return methods{"GET": s.json(s.getPrometheusTargets)}
	case is(p, "hosts"):
		return methods{"GET": s.json(s.getHosts)}
	case len(p) == 3 && p[0] == "hosts" && p[2] == "dead":
		return methods{"POST": s.json(s.postHostDead(p[1]))}
	case len(p) == 3 && p[0] == "hosts" && p[2] == "drain":
		return methods{"GET": s.json(s.getHostDrain(p[1])), "POST": s.json(s.postHostDrain(p[1])), "DELETE": s.json(s.deleteHostDrain(p[1]))}
	case len(p) == 3 && p[0] == "hosts" && p[2] == "document":
		return methods{"GET": s.json(s.getHostDocument(p[1]))}
	case len(p) == 3 && p[0] == "hosts" && p[2] == "report":
		return methods{"POST": s.postHostReport(p[1])}
	}
	return nil
}

func is(p []string, want ...string) bool { return slices.Equal(p, want) }

func appID(p []string) spec.AppID { return spec.AppID("/" + strings.Join(p, "/")) }

// json refuses clients that do not accept JSON.
func (s *Server) json(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if negotiate(r, "application/json") == "" {
			return notAcceptable(r, "application/json")
		}
		return h(w, r)
	}
}

func notAcceptable(r *http.Request, offered string) error {
	return fail(http.StatusNotAcceptable, "%s answers %s only, which the Accept header %q excludes.",
		r.URL.Path, offered, strings.Join(r.Header.Values("Accept"), ", "))
}

func appMissing(id spec.AppID) error {
	return &NotFoundError{Message: fmt.Sprintf("App '%s' does not exist", id)}
}
