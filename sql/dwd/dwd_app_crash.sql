-- A crash of the app, with what it ran on.
--
-- grain:  dt, file, byte_offset, element
-- check:  copies >= 1
-- check:  cast(local_time as date) = dt
-- tags:   audience

with event as (
    select * from dwd_event where dt = $dt and act = 5
)

select
    $dt as dt, -- business day of acttime
    visitor_id, -- device, else u:uid
    uid, -- logged-in user
    platform, -- android, ios, pc or other
    network, -- WIFI, 2G, 3G, 4G, 5G or unknown
    acttime, -- device time, epoch milliseconds
    local_time(acttime) as local_time, -- acttime on the clock of the business zone
    ver, -- app version
    vercode, -- app build
    brand, -- brand of the device
    model, -- model of the device
    osver, -- version of the operating system
    copies, -- how many times the event arrived
    file, -- file it came in, relative to the source's folder
    byte_offset, -- where its line starts in the decompressed file
    element -- its index within an envelope, 0 for a flat line
from event
