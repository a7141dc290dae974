package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/berth-project/berth/spec"
)

// podIDs lists the pods.
func (a *apiClient) podIDs() ([]string, error) {
	var pods []struct{ ID string }
	if _, err := a.call(http.MethodGet, "/v2/pods", nil, &pods); err != nil {
		return nil, doing(err, "list pods")
	}
	var ids []string
	for _, p := range pods {
		ids = append(ids, p.ID)
	}
	return ids, nil
}

// isPod says whether the id is a pod's: apps and pods share their ids, but not the calls.
func (a *apiClient) isPod(id spec.AppID) (bool, error) {
	ids, err := a.podIDs()
	return slices.Contains(ids, string(id)), err
}

// ids lists apps and pods.
func (a *apiClient) ids() ([]string, error) {
	apps, err := a.ListApplications(nil)
	if err != nil {
		return nil, doing(err, "list apps")
	}
	pods, err := a.podIDs()
	return append(apps, pods...), err
}

// sendPod creates or replaces a pod; the id of the deployment is in a header.
func (a *apiClient) sendPod(method, path string, force bool, body []byte) (deployment, version string, err error) {
	resp, err := a.do(method, fmt.Sprintf("%s?force=%t", path, force), nil, body)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var pod struct{ Version string }
	if err := json.NewDecoder(resp.Body).Decode(&pod); err != nil {
		return "", "", fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return resp.Header.Get("Marathon-Deployment-Id"), pod.Version, nil
}

// applyPod makes a definition true. A pod's body is always the whole definition.
func (a *apiClient) applyPod(d definition, exists, force bool) (applied, error) {
	row := applied{App: d.id, Change: "created"}
	method, path := http.MethodPost, "/v2/pods"
	if exists {
		method, path, row.Change = http.MethodPut, path+string(d.id), "updated"
	}
	var err error
	row.DeploymentID, row.Version, err = a.sendPod(method, path, force, d.body)
	return row, doing(err, "apply %s from %s", d.id, d.source)
}

// scalePod changes a pod's number of instances and nothing else of its definition.
func (a *apiClient) scalePod(id spec.AppID, n int, force bool) (deployment string, err error) {
	path := "/v2/pods" + string(id)
	var pod, scaling map[string]json.RawMessage
	if _, err := a.call(http.MethodGet, path, nil, &pod); err != nil {
		return "", err
	}
	if err := json.Unmarshal(pod["scaling"], &scaling); err != nil {
		return "", fmt.Errorf("read scaling of pod %s: %w", id, err)
	}
	scaling["instances"], _ = json.Marshal(n) // a number always marshals
	if pod["scaling"], err = json.Marshal(scaling); err != nil {
		return "", fmt.Errorf("write scaling of pod %s: %w", id, err)
	}
	body, err := json.Marshal(pod)
	if err != nil {
		return "", fmt.Errorf("write pod %s: %w", id, err)
	}
	deployment, _, err = a.sendPod(http.MethodPut, path, force, body)
	return deployment, err
}

// deletePod removes a pod and ends running deployments of it, as rm does with apps.
func (a *apiClient) deletePod(id spec.AppID) (deployment string, err error) {
	resp, err := a.do(http.MethodDelete, "/v2/pods"+string(id)+"?force=true", nil, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Header.Get("Marathon-Deployment-Id"), nil
}
