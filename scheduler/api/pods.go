package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Apps and pods share one map, as they share the ids. Calls for the one kind take what is of the other for missing.

// app is the app with the id; nil when there is none, or a pod.
func (s *View) app(id spec.AppID) *spec.App {
	if app := s.Apps[id]; app != nil && app.Pod == nil {
		return app
	}
	return nil
}

// pod is the pod with the id; nil when there is none, or an app.
func (s *View) pod(id spec.AppID) *spec.App {
	if app := s.Apps[id]; app != nil && app.Pod != nil {
		return app
	}
	return nil
}

func podMissing(id spec.AppID) error {
	return &NotFoundError{Message: fmt.Sprintf("Pod '%s' does not exist", id)}
}

// exists is the conflict with what has the id already.
func exists(app *spec.App) error {
	kind := marathon.Kind(app)
	return &ConflictError{Message: strings.ToUpper(kind[:1]) + kind[1:] + " with id [" + string(app.ID) + "] already exists."}
}

// routePods finds the resource below /v2/pods. What follows "::" is not part of the id.
func (s *Server) routePods(p []string) methods {
	if len(p) == 0 {
		return methods{"GET": s.json(s.listPods), "POST": s.json(s.postPod)}
	}
	path, call, isCall := strings.Cut(strings.Join(p, "/"), "::")
	id := appID(segments(path))
	if !isCall {
		return methods{"GET": s.json(s.getPod(id)), "PUT": s.json(s.putPod(id)), "DELETE": s.json(s.deletePod(id))}
	}
	call, rest, hasRest := strings.Cut(call, "/")
	switch {
	case call == "status" && id == "/" && !hasRest:
		return methods{"GET": s.json(s.listPodStatuses)}
	case id == "/":
		return nil
	case call == "status" && !hasRest:
		return methods{"GET": s.json(s.getPodStatus(id))}
	case call == "versions" && !hasRest:
		return methods{"GET": s.json(s.getPodVersions(id))}
	case call == "versions":
		return methods{"GET": s.json(s.getPodVersion(id, rest))}
	case call == "instances" && !hasRest:
		return methods{"DELETE": s.json(s.deletePodInstances(id))}
	case call == "instances":
		return methods{"DELETE": s.json(s.deletePodInstance(id, rest))}
	}
	return nil
}

// sortedPods lists the pods, by id.
func sortedPods(snap *View) []*spec.App {
	var out []*spec.App
	for _, app := range snap.Apps {
		if app.Pod != nil {
			out = append(out, app)
		}
	}
	slices.SortFunc(out, func(a, b *spec.App) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// listPods is GET /v2/pods. Clients find out with HEAD whether there are pods at all.
func (s *Server) listPods(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	out := []*marathon.PodJSON{}
	for _, pod := range sortedPods(snap) {
		out = append(out, marathon.EncodePod(pod))
	}
	return respond(w, r, http.StatusOK, out)
}

// getPod is GET /v2/pods/{id}.
func (s *Server) getPod(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		pod := snap.pod(id)
		if pod == nil {
			return podMissing(id)
		}
		return respond(w, r, http.StatusOK, marathon.EncodePod(pod))
	}
}

// getPodVersions is GET /v2/pods/{id}::versions.
func (s *Server) getPodVersions(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		stored, err := s.podVersions(r, id)
		if err != nil {
			return err
		}
		out := make([]string, 0, len(stored))
		for _, pod := range stored {
			out = append(out, spec.FormatTime(pod.Version))
		}
		return respond(w, r, http.StatusOK, out)
	}
}

// getPodVersion is GET /v2/pods/{id}::versions/{ts}.
func (s *Server) getPodVersion(id spec.AppID, version string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := marathon.ParseTime(version)
		if err != nil {
			return err
		}
		stored, err := s.podVersions(r, id)
		if err != nil {
			return err
		}
		if pod := ofVersion(stored, at); pod != nil {
			return respond(w, r, http.StatusOK, marathon.EncodePod(pod))
		}
		return &NotFoundError{Message: fmt.Sprintf("Pod '%s' does not exist in version %s", id, spec.FormatTime(at))}
	}
}

// postPod is POST /v2/pods.
func (s *Server) postPod(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	o, err := s.definitions(r)
	if err != nil {
		return err
	}
	pod, err := marathon.DecodePod(body, o)
	if err != nil {
		return err
	}
	changed, err := s.change(r, Change{Group: pod.ID.Parent(), Force: flag(r, "force", false)}, func(current apps) (apps, error) {
		if before := current[pod.ID]; before != nil {
			return nil, exists(before)
		}
		return apps{pod.ID: pod}, nil
	})
	if err != nil {
		return err
	}
	if changed.DeploymentID == "" {
		return respondDeployment(w, r, http.StatusOK, changed)
	}
	s.o.Events.Publish(podEvent(EventPodCreated, r, s.o.Now()))
	w.Header().Set("Location", location(r, pod.ID))
	return respondPod(w, r, http.StatusCreated, pod, changed)
}

// putPod is PUT /v2/pods/{id} with the full definition.
func (s *Server) putPod(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		o, err := s.definitions(r)
		if err != nil {
			return err
		}
		o.ID = id
		var pod *spec.App
		changed, err := s.change(r, Change{Group: id.Parent(), Force: flag(r, "force", false)}, func(current apps) (_ apps, err error) {
			before := current[id]
			if before == nil || before.Pod == nil {
				return nil, podMissing(id)
			}
			if pod, err = marathon.UpdatePod(before, body, o); err != nil {
				return nil, err
			}
			if pod.ID != id {
				return nil, fail(http.StatusBadRequest, "The definition is of pod '%s', the path names '%s'.", pod.ID, id)
			}
			return apps{id: pod}, nil
		})
		if err != nil {
			return err
		}
		if changed.DeploymentID == "" {
			return respondDeployment(w, r, http.StatusOK, changed)
		}
		s.o.Events.Publish(podEvent(EventPodUpdated, r, s.o.Now()))
		return respondPod(w, r, http.StatusOK, pod, changed)
	}
}

// respondPod answers with the pod as it was stored.
func respondPod(w http.ResponseWriter, r *http.Request, code int, pod *spec.App, changed *Changed) error {
	if stored := changed.Apps[pod.ID]; stored != nil {
		pod = stored
	}
	announce(w, changed)
	return respond(w, r, code, marathon.EncodePod(pod))
}

// deletePod is DELETE /v2/pods/{id}. The answer has no body; its headers name the deployment.
func (s *Server) deletePod(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		changed, err := s.change(r, Change{Group: id.Parent(), Force: flag(r, "force", false)}, func(current apps) (apps, error) {
			if before := current[id]; before == nil || before.Pod == nil {
				return nil, podMissing(id)
			}
			return apps{id: nil}, nil
		})
		if err != nil {
			return err
		}
		if changed.DeploymentID == "" {
			return respondDeployment(w, r, http.StatusOK, changed)
		}
		s.o.Events.Publish(podEvent(EventPodDeleted, r, s.o.Now()))
		announce(w, changed)
		w.Header().Set("Location", "http://"+r.Host+"/v2/deployments/"+changed.DeploymentID)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
}
