package template

import (
	"fmt"
	"strings"
)

// alarm is a trigger in terms of figures: in its expression {KEY} is replaced by the item of the figure KEY.
type alarm struct {
	name, expression, opdata, priority, description string
}

// Macros are the thresholds of the alarms, which a host may have otherwise.
func Macros() []Macro {
	return []Macro{
		{"{$BERTH.CPU.LOST.MAX}", "25", "Throttled periods of the last hour, in percent"},
		{"{$BERTH.CPU.THROTTLED.MAX}", "25", "Throttled periods, in percent"},
		{"{$BERTH.MEM.PCT.MAX}", "90", "Memory used of the limit, in percent"},
		{"{$BERTH.NET.ERRORS.MAX}", "5", "Network errors and dropped packets a second"},
		{"{$BERTH.PROCS.PCT.MAX}", "90", "Processes and threads of their limit, in percent"},
		{"{$BERTH.RESTARTS.MAX}", "3", "So many starts within 15 minutes are too many"},
		{"{$BERTH.SERVICE.DOWN.FOR}", "3m", "For how long a service must have been down before it is a problem"},
		{"{$BERTH.STARTING.FOR}", "10m", "For how long an instance may be without a container"},
		{"{$BERTH.UNHEALTHY.FOR}", "3m", "For how long an instance must have been unhealthy before it is a problem"},
	}
}

// hostMacros are those of the host's own alarms.
func hostMacros() []Macro {
	return []Macro{
		{"{$BERTH.HOST.DISK.MAX}", "90", "Disk used of Docker's data, in percent"},
		{"{$BERTH.HOST.MEM.MAX}", "95", "Memory used of the host, in percent"},
	}
}

// instanceAlarms are those of one instance.
func instanceAlarms() []alarm {
	return []alarm{
		{"is throttled (more than {$BERTH.CPU.THROTTLED.MAX} % of the periods for 5 minutes)",
			"min({berth.cpu.throttled},5m)>{$BERTH.CPU.THROTTLED.MAX}", "{ITEM.LASTVALUE1}", "WARNING",
			"The instance wants more CPU than its app asks for: raise cpus, or add instances."},
		{"lost more than {$BERTH.CPU.LOST.MAX} % of its periods in the last hour",
			"last({berth.cpu.lost})>{$BERTH.CPU.LOST.MAX} and last({berth.cpu.advice})>0", "{ITEM.LASTVALUE1}, {ITEM.LASTVALUE2} would do", "INFO",
			"Its quota is too small for what it does: see the advised quota."},
		{"is short of memory (more than {$BERTH.MEM.PCT.MAX} % of its limit for 5 minutes)",
			"min({berth.mem.pct},5m)>{$BERTH.MEM.PCT.MAX}", "{ITEM.LASTVALUE1}", "WARNING",
			"At its limit the kernel kills the processes of the instance: raise mem, or look for a leak."},
		{"had processes killed for want of memory",
			"(max({berth.mem.oom},15m)-min({berth.mem.oom},15m))>0 and last({berth.mem.oom})=max({berth.mem.oom},15m)", "{ITEM.LASTVALUE1}", "AVERAGE",
			"The kernel killed processes of the instance in the last 15 minutes: raise mem, or look for a leak."},
		{"is unhealthy", "max({berth.health},{$BERTH.UNHEALTHY.FOR})=0", "{ITEM.LASTVALUE1}", "AVERAGE",
			"A health check of the instance has been failing for {$BERTH.UNHEALTHY.FOR}."},
		{"has been restarted", "change({berth.uptime})<0", "{ITEM.LASTVALUE1}", "INFO", "Its uptime went back: the seat has a new container."},
		// Every start leaves about one value below a minute.
		{"starts again and again", `count({berth.uptime},15m,"lt","60")>={$BERTH.RESTARTS.MAX}`, "{ITEM.LASTVALUE1}", "AVERAGE",
			"Its container has been started {$BERTH.RESTARTS.MAX} times or more within 15 minutes."},
		{"has no container", "max({berth.state},{$BERTH.STARTING.FOR})=0", "{ITEM.LASTVALUE1}", "AVERAGE",
			"The seat has had no container for {$BERTH.STARTING.FOR}: berth why says what keeps it."},
		{"is near its limit of processes (more than {$BERTH.PROCS.PCT.MAX} % for 5 minutes)",
			"min({berth.procs.pct},5m)>{$BERTH.PROCS.PCT.MAX}", "{ITEM.LASTVALUE1}", "WARNING", "At the limit it cannot start processes or threads."},
		{"loses packets (more than {$BERTH.NET.ERRORS.MAX} a second for 5 minutes)",
			"min({berth.net.errors},5m)>{$BERTH.NET.ERRORS.MAX}", "{ITEM.LASTVALUE1}", "WARNING", "Errors and drops of its network interfaces."},
	}
}

// serviceAlarm is that of one service.
func serviceAlarm() alarm {
	return alarm{"is down", "max({berth.service.state},{$BERTH.SERVICE.DOWN.FOR})=0", "{ITEM.LASTVALUE1}", "AVERAGE", "The service should be up and has been down for {$BERTH.SERVICE.DOWN.FOR}."}
}

// hostAlarms are those of the host.
func hostAlarms() []alarm {
	return []alarm{
		{"Docker does not answer on {HOST.NAME}", "max({berth.host.docker},5m)=0", "", "HIGH", "Instances go on running, but none is started or stopped."},
		{"{HOST.NAME} is short of memory (more than {$BERTH.HOST.MEM.MAX} % used for 5 minutes)", "min({berth.host.mem.pct},5m)>{$BERTH.HOST.MEM.MAX}", "{ITEM.LASTVALUE1}", "AVERAGE", ""},
		{"The disk of Docker's data on {HOST.NAME} is nearly full (more than {$BERTH.HOST.DISK.MAX} % used)", "min({berth.host.disk.pct},5m)>{$BERTH.HOST.DISK.MAX}", "{ITEM.LASTVALUE1}", "AVERAGE",
			"berth image and docker system df say what takes it."},
	}
}

// keys are those of the figures that it reads, each once, in their order.
func (a alarm) keys() []string {
	var out []string
	seen := map[string]bool{}
	for rest := a.expression; ; {
		_, after, ok := strings.Cut(rest, "{berth.")
		if !ok {
			return out
		}
		name, after, _ := strings.Cut(after, "}")
		if key := "berth." + name; !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
		rest = after
	}
}

// trigger is the alarm of items of the template, whose keys have the suffix; of names what it is about, "" for the host.
func (a alarm) trigger(template, suffix, of, uuid string) Trigger {
	expression := a.expression
	for _, key := range a.keys() {
		expression = strings.ReplaceAll(expression, "{"+key+"}", fmt.Sprintf("/%s/%s%s", template, key, suffix))
	}
	name := a.name
	if of != "" {
		name = of + " " + name
	}
	return Trigger{UUID: uuid, Expression: expression, Name: name, OpData: a.opdata, Priority: a.priority, Description: a.description}
}
