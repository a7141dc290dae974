package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/berth-project/berth/spec"
)

// groupPath is the group's place in the API.
func groupPath(id spec.AppID) string { return "/v2/groups" + strings.TrimSuffix(string(id), "/") }

// hasGroup asks whether there is such a group.
func (a *apiClient) hasGroup(id spec.AppID) (bool, error) {
	resp, err := a.do(http.MethodGet, groupPath(id)+"?embed=group.groups", nil, nil)
	var answer *apiError
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, doing(err, "look for group %s", id)
	}
	return true, resp.Body.Close()
}

// applyGroup sends one group. What its deployment touches is waited for, also what it removes.
func (c *cli) applyGroup(ctx context.Context, a *apiClient, f *applyFlags, d definition) error {
	if f.merge {
		return fmt.Errorf("%s: --merge is for apps; a group keeps the lists that its definition does not have", d.source)
	}
	there, err := a.hasGroup(d.id)
	if err != nil {
		return err
	}
	var result struct{ Version, DeploymentID string }
	if _, err := a.call(http.MethodPut, fmt.Sprintf("%s?force=%t", groupPath(d.id), f.force), d.body, &result); err != nil {
		return doing(err, "apply %s", d.source)
	}
	row := applied{Group: d.id, Change: "created", DeploymentID: result.DeploymentID, Version: result.Version}
	if there {
		row.Change = "updated"
	}
	if c.output == "json" {
		err = c.printJSON([]applied{row})
	} else {
		_, err = fmt.Fprintf(c.out, "group %s %s (deployment %s)\n", row.Group, row.Change, row.DeploymentID)
	}
	if err != nil {
		return err
	}
	running, err := a.Deployments()
	if err != nil {
		return doing(err, "list deployments")
	}
	for _, other := range running {
		if other.ID != result.DeploymentID {
			continue
		}
		apps := make([]spec.AppID, 0, len(other.AffectedApps))
		for _, id := range other.AffectedApps {
			apps = append(apps, spec.AppID(id))
		}
		return c.await(ctx, a, f.waitFlags, result.DeploymentID, apps)
	}
	return nil // nothing changed
}
