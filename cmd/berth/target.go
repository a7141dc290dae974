package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// instances asks for the rows of some apps, or of all.
func (a *apiClient) instances(apps ...spec.AppID) (*api.InstanceList, error) {
	q := url.Values{}
	for _, id := range apps {
		q.Add("app", string(id))
	}
	list := new(api.InstanceList)
	_, err := a.call("GET", "/berth/v1/instances?"+q.Encode(), nil, list)
	return list, doing(err, "list instances")
}

// rows asks for those that APP or APP.N means.
func (a *apiClient) rows(arg string) ([]api.Instance, error) {
	list, err := a.instances()
	if err != nil {
		return nil, err
	}
	return find(list, arg)
}

// absolute is the id that a person means: the leading slash may be missing.
func absolute(id string) spec.AppID { return spec.AppID("/" + strings.Trim(id, "/")) }

// find picks the rows that APP or APP.N means. An app's full id wins over APP.N, as ids may end in ".N" themselves.
func find(list *api.InstanceList, arg string) ([]api.Instance, error) {
	pick := func(want func(api.Instance) bool) []api.Instance {
		return slices.DeleteFunc(slices.Clone(list.Instances), func(i api.Instance) bool { return !want(i) })
	}
	id := absolute(arg)
	if rows := pick(func(i api.Instance) bool { return i.App == id }); len(rows) > 0 {
		return rows, nil
	}
	if seat, err := spec.ParseSeatID(strings.Trim(arg, "/")); err == nil {
		if rows := pick(func(i api.Instance) bool { return i.App == seat.App && i.Seat == seat.Index }); len(rows) > 0 {
			return rows, nil
		}
		if rows := pick(func(i api.Instance) bool { return i.App == seat.App }); len(rows) > 0 {
			return nil, fmt.Errorf("app %s has no instance %d; it has %s", seat.App, seat.Index, seatNumbers(rows))
		}
	}
	return nil, fmt.Errorf("there is no instance of %s%s", id, known(list))
}

// findGroup picks the rows of all apps in a group.
func findGroup(list *api.InstanceList, arg string) []api.Instance {
	id := absolute(arg)
	return slices.DeleteFunc(slices.Clone(list.Instances), func(i api.Instance) bool { return i.App == id || !i.App.In(id) })
}

func seatNumbers(rows []api.Instance) string {
	numbers := make([]string, 0, len(rows))
	for _, r := range rows {
		numbers = append(numbers, fmt.Sprint(r.Seat))
	}
	return strings.Join(slices.Compact(numbers), ", ")
}

// known lists some apps that there are, for a person who mistyped.
func known(list *api.InstanceList) string {
	ids := make([]string, 0, len(list.Instances))
	for _, i := range list.Instances {
		ids = append(ids, string(i.App))
	}
	ids = slices.Compact(ids) // sorted already
	switch {
	case len(ids) == 0:
		return " (nor of any other app)"
	case len(ids) > 8:
		ids = append(ids[:8], "...")
	}
	return "; there are some of " + strings.Join(ids, ", ")
}

// name is how a row is called: APP.N.
func name(i api.Instance) string { return spec.SeatID{App: i.App, Index: i.Seat}.String() }

// completeApps completes app ids from the API, and their instances where those are meant, too. It is silent when the API
// does not answer.
func (c *cli) completeApps(seats bool, maxArgs int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if maxArgs > 0 && len(args) >= maxArgs {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a, err := newAPIClient(cmd.Context(), c.address, tokenFromEnv())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ids, err := a.ids()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if seats {
			if list, err := a.instances(); err == nil {
				for _, i := range list.Instances {
					ids = append(ids, name(i))
				}
			}
		}
		var out []string
		for _, id := range ids {
			if !strings.HasPrefix(word, "/") {
				id = strings.TrimPrefix(id, "/")
			}
			if strings.HasPrefix(id, word) && !slices.Contains(args, id) {
				out = append(out, id)
			}
		}
		slices.Sort(out)
		return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
	}
}
