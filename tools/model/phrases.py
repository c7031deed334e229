"""The sentence shapes of the corpus, by intent.

{D} device with its place, {d} device, {L} place, {V} value, {P} property, {S} the state word, {N} scene,
{C} comparison. A leading "*" holds the shape out of training; a leading "!" says that it is
no plain imperative, so that "please", "could you" and the like may not be put around it.
"""


def shapes(text):
    """One shape per line; returns [(shape, held out, imperative)]."""
    out = []
    for line in text.strip().splitlines():
        line = line.strip()
        flags = line[: len(line) - len(line.lstrip("*!"))]
        out.append((line.lstrip("*!"), "*" in flags, "!" not in flags))
    return out


# {S} is "on" or "off"
ONOFF = shapes("""
turn {S} {D}
turn {D} {S}
switch {S} {D}
switch {D} {S}
put {D} {S}
set {D} to {S}
flip {D} {S}
*flip {S} {D}
power {S} {D}
*power {D} {S}
get {D} {S}
have {D} turned {S}
*have {D} switched {S}
get {D} turned {S}
*get {D} switched {S}
make sure {D} is {S}
make sure {D} is turned {S}
*make sure that {D} is switched {S}
make sure to turn {D} {S}
see that {D} is {S}
*see that {D} goes {S}
make {D} go {S}
let {D} go {S}
change {D} to {S}
{L}, turn {S} {d}
{L} turn {d} {S}
*{L} switch {S} {d}
{L}, switch {d} {S}
{L}, put {d} {S}
*{L}, set {d} to {S}
!{D} {S}
!{D}: {S}
!{S} with {D}
!i want {D} {S}
!i want {D} to be {S}
!i want {D} turned {S}
*!i want {D} switched {S}
!i need {D} {S}
!i need {D} to be {S}
*!i need {D} turned {S}
!i would like {D} {S}
!i would like to have {D} {S}
*!i would like to have {D} turned {S}
!i'd like {D} to be {S}
!{D} should be {S}
!{D} should be turned {S}
*!{D} must be turned {S}
!{D} must be {S}
!{D} has to be {S}
!{D} needs to be {S}
*!{D} needs to be turned {S}
!{D} has to go {S}
!{D} needs to go {S}
!let's turn {D} {S}
!let's switch {S} {D}
*!let's turn {S} {D}
!let's have {D} {S}
!time to turn {S} {D}
!time to switch {D} {S}
*!time to turn {D} {S}
!can {D} be turned {S}
!could {D} be switched {S}
*!can {D} be switched {S}
!may i have {D} {S}
!we need {D} {S}
*!we need {D} to be {S}
!we want {D} {S}
""")

ON = shapes("""
start {D}
activate {D}
enable {D}
start up {D}
*start {D} up
fire up {D}
run {D}
let {D} run
*!let's run {D}
get {D} running
*!i need {D} running
!i want {D} running
!i want {D} to run
!{D} should run
*!{D} should be running
!{D} must run
make sure {D} is running
{L}, start {d}
*{L}, activate {d}
*!let's start {D}
!let's activate {D}
!i want {D} to start
!{D} should start
*!{D} must start
have {D} started
bring {D} to life
set {D} running
!let {D} start
have {D} running
!time to start {D}
""")

OFF = shapes("""
stop {D}
deactivate {D}
disable {D}
shut {D} down
shut down {D}
shut {D} off
*shut off {D}
kill {D}
halt {D}
cut {D}
*!let's stop {D}
!let's shut {D} down
make {D} stop
*make sure {D} stops
let {D} stop
!i want {D} stopped
*!i want {D} shut down
!i want {D} to stop
!{D} should stop
*!{D} must stop
!{D} has to stop
{L}, stop {d}
*{L}, shut down {d}
{L}, disable {d}
have {D} stopped
!time to stop {D}
!i need {D} to stop
*!i need {D} stopped
!{D} should be stopped
!{D} may stop
don't let {D} run
!{D} should not run
*!{D} must not run
""")

# {S} open or close, {E} open or closed
OPEN = shapes("""
{S} {D}
{S} {D} completely
*{S} up {D}
get {D} to {S}
make {D} {S}
let {D} {S}
have {D} {E}
put {D} in the {E} position
*move {D} to the {E} position
bring {D} to the {E} position
set {D} to {E}
*put {D} to {E}
make sure {D} is {E}
*see that {D} is {E}
make sure to {S} {D}
*see to it that {D} is {E}
see to it that you {S} {D}
{L}, {S} {d}
{L} {S} {d}
*{L}, have {d} {E}
{L}, set {d} to {E}
!i want {D} {E}
!i want {D} to be {E}
*!i want to have {D} {E}
!i need {D} {E}
*!i need {D} to be {E}
!i would like {D} {E}
!i would like to have {D} {E}
!i'd like {D} to be {E}
!i'd like to {S} {D}
!i want to {S} {D}
*!i need to {S} {D}
!i would like to {S} {D}
!{D} should be {E}
!{D} must be {E}
*!{D} should {S}
!{D} must {S}
!{D} has to be {E}
*!{D} has to {S}
!{D} needs to be {E}
!{D} needs to {S}
!{D} {E}
!{D}: {S}
*!{D}: {E}
!let's {S} {D}
*!let's have {D} {E}
!let's get {D} {E}
!time to {S} {D}
!can {D} be {E}
*!could {D} be {E}
!may i have {D} {E}
!we need {D} {E}
!we want {D} {E}
*!we want {D} to be {E}
!we need to {S} {D}
""")

# {S} lock or unlock, {E} locked or unlocked
LOCK = shapes("""
{S} {D}
{S} {D} now
make sure to {S} {D}
make sure {D} is {E}
*make sure that {D} is {E}
see that {D} is {E}
*see to it that {D} is {E}
see to it that you {S} {D}
have {D} {E}
get {D} {E}
set {D} to {E}
*put {D} to {E}
put {D} in the {E} state
bring {D} to the {E} state
*set {D} to the {E} state
{L}, {S} {d}
{L} {S} {d}
*{L}, have {d} {E}
{L}, set {d} to {E}
!i want {D} {E}
!i want {D} to be {E}
*!i want to have {D} {E}
!i need {D} {E}
*!i need {D} to be {E}
!i would like {D} {E}
!i would like to have {D} {E}
!i'd like {D} to be {E}
!i'd like to {S} {D}
!i want to {S} {D}
*!i need to {S} {D}
!i would like to {S} {D}
!{D} should be {E}
!{D} must be {E}
*!{D} has to be {E}
!{D} needs to be {E}
!{D} {E}
!{D}: {S}
*!{D}: {E}
!let's {S} {D}
*!let's have {D} {E}
!let's get {D} {E}
!time to {S} {D}
!can {D} be {E}
*!could {D} be {E}
!may i have {D} {E}
!we need {D} {E}
!we want {D} {E}
*!we want {D} to be {E}
!we need to {S} {D}
""")

SET = shapes("""
set {D} to {V}
put {D} at {V}
*put {D} to {V}
change {D} to {V}
adjust {D} to {V}
bring {D} to {V}
move {D} to {V}
get {D} to {V}
*get {D} at {V}
take {D} to {V}
turn {D} to {V}
*switch {D} to {V}
run {D} at {V}
leave {D} at {V}
hold {D} at {V}
*keep {D} at {V}
have {D} at {V}
regulate {D} to {V}
make {D} {V}
*make {D} go to {V}
let {D} go to {V}
let {D} run at {V}
make sure {D} is at {V}
*make sure {D} goes to {V}
make sure {D} is set to {V}
see that {D} is at {V}
*see that {D} is set to {V}
set {V} for {D}
set {V} on {D}
choose {V} for {D}
*choose {V} on {D}
use {V} for {D}
dial {D} to {V}
{L}, set {d} to {V}
{L} put {d} at {V}
*{L}, change {d} to {V}
{L}, bring {d} to {V}
!{D} to {V}
!{D} at {V}
!{D}: {V}
*!{D} on {V}
!{V} for {D}
!{V} on {D}
!i want {D} at {V}
!i want {D} set to {V}
*!i want {D} to be at {V}
!i want {V} for {D}
!i need {D} at {V}
*!i need {D} set to {V}
!i would like {D} at {V}
!i would like to have {D} at {V}
*!i'd like {D} set to {V}
!i'd like {V} for {D}
!{D} should be at {V}
!{D} should go to {V}
*!{D} must be at {V}
!{D} must go to {V}
!{D} has to be at {V}
!{D} needs to be at {V}
*!{D} needs to go to {V}
!let's set {D} to {V}
!let's have {D} at {V}
*!let's put {D} at {V}
!time to set {D} to {V}
!can {D} be set to {V}
!could {D} go to {V}
!we need {D} at {V}
*!we want {D} at {V}
""")

# naming the property
SET_PROPERTY = shapes("""
set the {P} of {D} to {V}
put the {P} of {D} at {V}
*bring the {P} of {D} to {V}
change the {P} of {D} to {V}
adjust the {P} of {D} to {V}
*set the {P} for {D} to {V}
change the {P} for {D} to {V}
set {D} to a {P} of {V}
*bring {D} to a {P} of {V}
run {D} at a {P} of {V}
keep the {P} of {D} at {V}
*hold the {P} of {D} at {V}
!the {P} of {D} should be {V}
!the {P} of {D} must be {V}
*!the {P} of {D} has to be {V}
!i want a {P} of {V} for {D}
*!i need a {P} of {V} for {D}
!i need a {P} of {V} on {D}
!i want the {P} of {D} at {V}
!i'd like the {P} of {D} to be {V}
""")

OPEN_TO = shapes("""
open {D} to {V}
open {D} by {V}
open {D} {V}
*open {D} up to {V}
open {d} {L} up to {V}
{L}, open {d} to {V}
*{L}, open {d} {V}
!i want {D} open to {V}
!i want {D} {V} open
*!i need {D} {V} open
!i need {D} open to {V}
!{D} {V} open
*!{D} open to {V}
!{D} should be {V} open
!{D} should be open to {V}
have {D} {V} open
*make sure {D} is {V} open
make sure {D} is open to {V}
let {D} open to {V}
!let's open {D} to {V}
""")

DIM = shapes("""
dim {D} to {V}
dim {D} down to {V}
*brighten {D} up to {V}
brighten {D} to {V}
make {D} {V} bright
*let {D} be {V} bright
{L}, dim {d} to {V}
!i want {D} dimmed to {V}
*!i need {D} dimmed to {V}
!{D} should be {V} bright
have {D} dimmed to {V}
!let's dim {D} to {V}
""")

# {S} and {R} are raise/lower and up/down words
ADJUST = shapes("""
{S} {D} by {V}
turn {D} {R} by {V}
turn {R} {D} by {V}
*bring {R} {D} by {V}
bring {D} {R} by {V}
take {D} {R} by {V}
*move {D} {R} by {V}
move {R} {D} by {V}
put {D} {R} by {V}
set {D} {V} {I}
make {D} {V} {I}
*get {D} {V} {I}
put {D} {V} {I}
let {D} go {R} by {V}
*let {D} go {V} {R}
turn {D} {R} {V}
*bring {D} {R} {V}
{S} {D} {V}
by {V} {S} {D}
*by {V} turn {R} {D}
{L}, {S} {d} by {V}
{L}, turn {d} {R} by {V}
*{L}, bring {d} {R} by {V}
{L} {S} {d} by {V}
!{D} {R} by {V}
!{D} {V} {I}
*!{D} {R} {V}
!i want {D} {V} {I}
!i want {D} {R} by {V}
*!i need {D} {R} by {V}
!i need {D} {V} {I}
!i'd like {D} {V} {I}
!i would like {D} {R} by {V}
!{D} should be {V} {I}
!{D} should go {R} by {V}
*!{D} must be {V} {I}
!{D} must go {R} by {V}
!{D} has to go {R} by {V}
*!{D} needs to go {R} by {V}
!let's {S} {D} by {V}
!let's turn {D} {R} by {V}
*!let's bring {D} {R} by {V}
!{V} {I} for {D}
!{V} {I} on {D}
!time to {S} {D} by {V}
!we need {D} {V} {I}
""")

ADJUST_PROPERTY = shapes("""
{S} the {P} of {D} by {V}
turn {R} the {P} of {D} by {V}
*turn the {P} of {D} {R} by {V}
bring the {P} of {D} {R} by {V}
*!i want the {P} of {D} {V} {I}
!the {P} of {D} should be {V} {I}
!the {P} of {D} should go {R} by {V}
*!the {P} of {D} must go {R} by {V}
!let's {S} the {P} of {D} by {V}
{S} the {P} for {D} by {V}
""")

# {P} the property to read
READ = shapes("""
!what is the {P} {L}
!what's the {P} {L}
*!what would the {P} {L} be
!what {P} do we have {L}
!what {P} is it {L}
*!what is it for a {P} {L}
!which {P} do we have {L}
*!which {P} is there {L}
!how high is the {P} {L}
!how is the {P} {L}
*!how do we see the {P} {L}
!what does the {P} {L} read
!what does the {P} sensor {L} say
*!what does the {P} sensor {L} read
!{L}, what is the {P}
!{L}, what's the {P}
*!{L}, how high is the {P}
tell me the {P} {L}
show me the {P} {L}
*tell me what the {P} {L} is
show the {P} {L}
give me the {P} {L}
*give the {P} {L}
read the {P} {L}
read out the {P} {L}
*read the {P} sensor {L}
get the {P} {L}
get me the {P} {L}
check the {P} {L}
*check what the {P} {L} is
report the {P} {L}
report what the {P} {L} is
look up the {P} {L}
*look at the {P} {L}
measure the {P} {L}
fetch the {P} {L}
*measure me the {P} {L}
let me know the {P} {L}
let me see the {P} {L}
*let me know what the {P} {L} is
!i want to know the {P} {L}
!i need the {P} {L}
*!i need to know the {P} {L}
!i want the {P} {L}
!i would like to know the {P} {L}
*!i would like to see the {P} {L}
!i'd like to see the {P} {L}
!current {P} {L}
*!the current {P} {L}
!the {P} {L}
!{P} {L}
!do you know the {P} {L}
!do you have the {P} {L}
*!do we know the {P} {L}
!how much is the {P} {L}
""")

# reads the state of a device
STATUS = shapes("""
!what is the state of {D}
!what's the state of {D}
!what is the status of {D}
*!what's the status of {D}
!what is {D} doing
!what does {D} do
*!what's {D} doing
!how is {D}
!how is {D} doing
*!how's {D}
!is {D} on
!is {D} off
!is {D} on or off
*!is {D} off or on
!is {D} running
!is {D} active
*!is {D} on now
!{L}, is {d} on
!{L}, what is {d} doing
*!{L}, is {d} running
tell me the state of {D}
tell me if {D} is on
*tell me if {D} is running
tell me what {D} is doing
show me the state of {D}
show me the status of {D}
*show me what {D} is doing
show the status of {D}
give me the state of {D}
*give me the status of {D}
check {D}
check if {D} is on
*check what {D} is doing
check the state of {D}
check whether {D} is running
*check whether {D} is on
read {D}
read the state of {D}
*read the status of {D}
report the status of {D}
report on {D}
get the state of {D}
*get the status of {D}
let me know if {D} is on
let me know the state of {D}
*let me know what {D} is doing
!i want to know if {D} is on
!i want to know the state of {D}
*!i want to know what {D} is doing
!i need the status of {D}
!status of {D}
!state of {D}
*!status: {D}
!do you know if {D} is on
!does {D} run
""")

# how a person asks for a property without naming it
READ_HOW = {
    "temperature": shapes("""
!how warm is it {L}
!how cold is it {L}
!how hot is it {L}
!how warm does it get {L}
*!{L}, how cold is it
!{L}, how warm is it
tell me how warm it is {L}
*tell me how hot it is {L}
check how cold it is {L}
"""),
    "humidity": shapes("""
!how humid is it {L}
!how damp is it {L}
!{L}, how humid is it
tell me how humid it is {L}
*tell me how damp it is {L}
*!{L}, how damp is it
check how humid it is {L}
"""),
    "illuminance": shapes("""
!how bright is it {L}
!how dark is it {L}
!{L}, how bright is it
tell me how bright it is {L}
*tell me how dark it is {L}
*!{L}, how dark is it
check how bright it is {L}
"""),
}

SCENE = shapes("""
activate the {N} scene {L}
activate {N} mode {L}
*activate the {N} mode {L}
start the {N} scene {L}
start {N} mode {L}
*start the {N} mode {L}
switch to the {N} scene {L}
switch to {N} mode {L}
*switch to the {N} mode {L}
run the {N} scene {L}
*run the {N} program {L}
turn on {N} mode {L}
turn on the {N} scene {L}
*turn {N} mode on {L}
set the scene {L} to {N}
set the mode {L} to {N}
*change the scene {L} to {N}
change the mode {L} to {N}
use the {N} scene {L}
use {N} mode {L}
*use the {N} mode {L}
load the {N} scene {L}
load the {N} program {L}
enable {N} mode {L}
*enable the {N} scene {L}
apply the {N} scene {L}
call the {N} scene {L}
go to {N} mode {L}
*go to the {N} scene {L}
start the {N} program {L}
{L}, switch to {N} mode
{L}, activate the {N} scene
*{L}, start the {N} scene
{L} set the scene to {N}
!{N} scene {L}
!{N} mode {L}
*!the {N} scene {L}
!{N} mode on {L}
!i want the {N} scene {L}
!i want {N} mode {L}
*!i need {N} mode {L}
!i need the {N} scene {L}
!i would like {N} mode {L}
!i'd like the {N} scene {L}
*!i'd like {N} mode {L}
!let's have the {N} scene {L}
!let's go to {N} mode {L}
*!let's switch to {N} mode {L}
!time for the {N} scene {L}
!time for {N} mode {L}
!can we have the {N} scene {L}
*!can we have {N} mode {L}
""")

# an alert is a condition alone; {W} is the whole condition without its conjunction
ALERT = shapes("""
tell me when {W}
tell me if {W}
*tell me as soon as {W}
alert me when {W}
alert me if {W}
*alert me as soon as {W}
warn me when {W}
warn me if {W}
*warn me once {W}
notify me when {W}
notify me as soon as {W}
*notify me if {W}
let me know when {W}
let me know if {W}
*let me know once {W}
send me a message when {W}
send me a message if {W}
*send me a warning if {W}
send me an alert when {W}
send an alert if {W}
*send an alert as soon as {W}
send a warning when {W}
send a message once {W}
give me a warning when {W}
give me an alert if {W}
*give me an alert when {W}
raise an alarm when {W}
raise an alert if {W}
*raise an alarm if {W}
sound the alarm if {W}
call me when {W}
call me if {W}
*call me as soon as {W}
report when {W}
report it if {W}
*report it when {W}
when {W}, tell me
if {W}, alert me
*when {W}, alert me
as soon as {W}, notify me
if {W}, send me a message
*if {W}, let me know
once {W}, let me know
when {W}, send a warning
!i want to know when {W}
!i want to know if {W}
*!i want to be told when {W}
!i want to be warned when {W}
!i want to be told if {W}
!i need to know when {W}
*!i need to be told if {W}
!i want an alert when {W}
!i'd like a message when {W}
*!i'd like an alert if {W}
!i'd like to know if {W}
!alarm when {W}
""")

# {P} property word, {C} comparison, {V} value; {L} place when an alert names it
CONDITION = shapes("""
!the {P} {C} {V}
!{P} {C} {V}
!the {P} there {C} {V}
!the measured {P} {C} {V}
*!the {P} measured there {C} {V}
!the {P} value {C} {V}
*!the value of the {P} {C} {V}
!we have a {P} that {C} {V}
""")

# comparisons after a property: rises above 28
COMPARE = {
    "gt": "goes above|rises above|is above|is over|goes over|climbs above|exceeds|is higher than|gets higher than|"
          "is more than|is greater than|gets over|gets above",
    "lt": "goes below|falls below|drops below|is below|is under|goes under|drops under|falls under|is lower than|"
          "gets lower than|is less than|sinks below|gets below",
    "gte": "reaches|is at least|hits|gets to",
    "lte": "is at most|is no more than|falls to|drops to",
}

# comparisons of "it", which speak of the temperature
COMPARE_IT = {
    "gt": "it gets over|it is over|it is warmer than|it is hotter than|it gets warmer than|it gets hotter than|"
          "it gets above|it is above",
    "lt": "it gets below|it is below|it is colder than|it is cooler than|it gets colder than|it gets cooler than|"
          "it drops below|it falls below|it is under",
    "gte": "it reaches|it gets to|it hits",
    "lte": "it falls to|it drops to",
}

# around an imperative
POLITE = shapes("""
{X}
please {X}
{X} please
{X}, please
could you {X}
can you {X}
could you please {X}
*can you please {X}
would you {X}
would you please {X}
*please could you {X}
can you {X} for me
*could you {X} for me
i want you to {X}
i need you to {X}
*i'd like you to {X}
i would like you to {X}
hey, {X}
hi, {X}
hello, {X}
*hello, please {X}
ok, {X}
ok, now {X}
now {X}
*now please {X}
{X} now
{X}, thanks
{X}, thank you
*please {X}, thanks
{X} for me
just {X}
kindly {X}
remember to {X}
don't forget to {X}
*please don't forget to {X}
be so kind and {X}
would it be possible to {X}
is it possible to {X}
it would be nice if you could {X}
*it would be great if you could {X}
it would be great if you would {X}
go ahead and {X}
*please go ahead and {X}
quickly {X}
we need you to {X}
you should {X}
*you need to {X}
you can {X}
i think you should {X}
""")

# around any other sentence
FRAME = shapes("""
{X}
{X}
{X} please
{X}, please
please, {X}
*{X}, thank you
hey, {X}
hi, {X}
hello, {X}
*ok now, {X}
ok, {X}
{X}, thanks
*hi, {X}, thanks
""")

# sentence and one adjunct; sentence and two
ONE = shapes("""
{X} {A}
{X} {A}
{X} {A}
{A}, {X}
{A} {X}
*{X}, {A}
""")
TWO = shapes("""
{X} {A} {B}
{A}, {X} {B}
{A} {X} {B}
*{A} {B}, {X}
*{X}, {A} {B}
{B}, {X} {A}
""")

# joins two or three clauses
JOIN = shapes("""
{X} and {Y}
{X} and {Y}
{X} and then {Y}
{X}, then {Y}
{X}, and {Y}
{X}, {Y}
{X} and also {Y}
*{X}, and also {Y}
*{X}, and then {Y}
{X}; {Y}
{X} then {Y}
first {X}, then {Y}
*first {X} and then {Y}
{X} as well as {Y}
""")

# two devices or two places in one clause: {d} {e} devices, {L} {M} places
PAIR = shapes("""
turn {S} {d} and {e} {L}
turn {d} and {e} {S} {L}
*turn {d} and {e} {L} {S}
switch {S} {d} and {e} {L}
switch {S} both {d} and {e} {L}
*turn {S} both {d} and {e} {L}
{L}, turn {S} {d} and {e}
*{L}, switch {S} {d} and {e}
{L} turn {d} and {e} {S}
put {d} and {e} {L} {S}
turn {S} {d} {L} and {M}
turn {S} {d} {L} and {d} {M}
*turn {d} {S} {L} and {M}
switch {S} {d} {L} and {M}
*switch {d} {S} {L} and {M}
turn {d} {L} and {M} {S}
switch {d} {S} both {L} and {M}
!{d} and {e} {L} {S}
!i want {d} and {e} {L} {S}
*!i need {d} and {e} {L} {S}
!i need {d} {L} and {M} {S}
*!i want {d} {L} and {M} {S}
!{d} and {e} {L} should be {S}
!let's turn {S} {d} and {e} {L}
*!{d} {L} and {M} should be {S}
!{d} {L} and {M} must be {S}
""")

MISSING_VALUE = shapes("""
set {D} to
set {D}
*set {D} at
change {D}
change {D} to
adjust {D}
*adjust {D} to
bring {D} to
put {D} at
*put {D} to
move {D} to
{L}, set {d}
{L}, set {d} to
*{L}, adjust {d}
set a value for {D}
set {D} to a value
*set {D} to your value
set {D} to the right value
set {D} to something
*change {D} to something
change {D} a bit
!i want {D} at
!i want {D} set to
*!i need {D} set to
!{D} should be at
!{D} should be set to
*!{D} must be set to
adjust {D} a bit
*set {D} a bit
adjust {D} to something else
set {D} to another value
*change {D} to another value
run {D} at
keep {D} at
*hold {D} at
give {D} a value
""")

# the device is only a pronoun
MISSING_DEVICE = shapes("""
turn it {S} {L}
turn that {S} {L}
*turn this {S} {L}
switch it {S} {L}
switch {S} that one {L}
switch this {S} {L}
*switch that {S} {L}
turn {S} the thing {L}
turn {S} this thing {L}
*switch {S} the thing {L}
turn it {S}
switch it {S}
*switch that {S}
turn that thing {S}
open it {L}
close it {L}
*open that {L}
close that thing {L}
open this one
*close this one
set it to {V}
set it to {V} {L}
*set this to {V} {L}
set that to {V}
put it at {V} {L}
*put that at {V} {L}
{L}, turn it {S}
{L}, set it to {V}
*{L}, switch it {S}
lock it {L}
unlock it
*lock that one
start it {L}
stop it {L}
*start that {L}
stop that thing {L}
""")

CHAT = shapes("""
!how are you
!how are you today
*!hello, how are you today
!hello there
!good morning
!good evening to you
!who are you
!what is your name
!what can you do
*!what can you do for me
!tell me a {t}
!tell me a {t} about a {u}
*!tell me another {t}
!tell me another {t} about a {u}
!write a {t} about a {u}
!write me a {t}
*!write me a {t} about a {u}
!sing a {t}
!sing me a {t} about a {u}
!do you know a {t}
*!do you know a {t} about a {u}
!read me a {t}
!i like the {t} about the {u}
!what do you think about a {u}
*!what do you think about the {u}
!who wrote the {t} about the {u}
!who invented the {u}
!why is the {u} {c}
*!why is a {u} {c}
!why are you so {c}
!the {u} is {c}
*!a {u} is {c}
!i think the {u} is {c}
!my {u} is {c}
*!i think my {u} is {c}
!where is my {u}
!where is the {u}
!where can i buy a {u}
*!where can i buy a {t}
!i bought a {u} yesterday
!my {r} bought a {u} yesterday
*!my {r} bought a {c} {u}
!my {r} is {c}
!my {r} likes the {u}
!how old is your {r}
*!how old is my {r}
!how old is the {u}
!what is the capital of {k}
!how many people live in {k}
*!how many people are there in {k}
!who is the president of {k}
!what is the weather like in {k}
*!what is the weather in {k} like
!how far is it to {k}
!i was in {k} last year
*!my {r} was in {k} last year
!i want to go to {k}
!my {r} lives in {k}
*!how far is {k}
!book a flight to {k}
!order a {u} for my {r}
*!order a {u}
!buy a {u} for me
!call my {r}
!send a letter to my {r}
*!send a {u} to my {r}
!what is {n} plus {m}
!what is {n} times {m}
*!how much is {n} plus {m}
!how much is {n} times {m}
!{D} is {c}
!i like {D}
*!i think {D} is {c}
!somebody painted {D} yesterday
!{D} looks {c} today
*!{D} looks {c}
!my {r} bought {D} last year
!{D} is broken
!i am {L}
*!my {r} is {L}
!i am {c} today
!it is {c} today
thank you very much
!thanks a lot
*!thank you a lot
!that is {c}
!that was {c} of you
!never mind
!good night
!see you tomorrow
""")
CHAT_WORDS = {
    "t": "joke|story|poem|song|riddle|tale|fable|limerick",
    "u": "cat|dog|bird|horse|ship|castle|king|queen|pirate|elephant|mouse|robot from mars|painting|book|movie|football|cake|"
         "banana|tree|river|mountain|moon|star|train|bus|hat|shoe|coat",
    "c": "nice|beautiful|funny|ugly|strange|tired|happy|sad|famous|expensive|cheap|old|great|boring|wonderful|blue|green",
    "r": "mother|father|brother|sister|uncle|neighbour|boss|friend|colleague|aunt|cousin|teacher",
    "k": "france|italy|spain|peru|japan|norway|egypt|brazil|canada|kenya|india|chile|poland|vienna|madrid|cairo|lima|oslo",
}

# actions that a device may not have
WRONG_STATE = {"o": ONOFF, "c": OPEN, "l": LOCK}
