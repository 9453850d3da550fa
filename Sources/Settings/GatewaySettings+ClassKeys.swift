// The keys of a configuration that are about traffic classes: one row each.

import Basics

extension GatewaySettings {
    static let classKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "class.feed", .classMembers, \.tuning.classes.feed,
            "Which frames leave first; `multicast` is IP multicast whose code point is in no list."),
        SettingKey("class.bulk", .classMembers, \.tuning.classes.bulk, "Which frames leave last."),
        SettingKey(
            "class.feed.dscp", .outerMark, \.tuning.classes.feedMark,
            "The code point of datagrams with feeds; `copy` is that of the frames, and ef where these differ."),
        SettingKey(
            "class.normal.dscp", .outerMark, \.tuning.classes.normalMark,
            "The code point of datagrams with what is in no list; `copy` is that of the frames, and cs0 where these differ."),
        SettingKey(
            "class.bulk.dscp", .outerMark, \.tuning.classes.bulkMark,
            "The code point of datagrams with bulk; `copy` is that of the frames, and le where these differ."),
        SettingKey(
            "class.control.dscp", .codePoint, \.tuning.classes.controlMark,
            "The code point of the tunnel's own datagrams."),
    ]
}
