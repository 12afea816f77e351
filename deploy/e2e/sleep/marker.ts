/** What each random text begins with that the stories of sleep give a tenant to keep. */
export const markerStart = "sleep-canary-";
